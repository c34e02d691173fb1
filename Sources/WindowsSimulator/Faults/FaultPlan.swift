/// All faults of a fleet, by host.
///
/// Faults with lasting consequences (a reboot, a counter reset) are folded into each host's conditions when a plan is
/// replaced, so that nothing is undone by the next plan.
struct FaultPlan: Sendable {
    private var byHost: [Int: [Fault]] = [:]
    private var lasting: [Int: HostConditions] = [:]
    private(set) var all: [Fault] = []

    init() {}

    /// The plan that follows this one at `time`.
    func replaced(by faults: [Fault], at time: FileTime) -> FaultPlan {
        var plan = FaultPlan()
        plan.lasting = self.lasting
        for host in self.byHost.keys { plan.lasting[host] = self.lastingConditions(of: host, at: time) }
        plan.all = faults
        for fault in faults {
            for host in fault.hosts { plan.byHost[host, default: []].append(fault) }
        }
        return plan
    }

    func active(for host: Int, at time: FileTime) -> ActiveFaults {
        guard let faults = self.byHost[host] else { return .none }
        return ActiveFaults(kinds: faults.filter { $0.isActive(at: time) }.map(\.kind))
    }

    func conditions(of host: Int, at time: FileTime) -> HostConditions {
        var conditions = self.lastingConditions(of: host, at: time)
        for fault in self.byHost[host] ?? [] where fault.isActive(at: time) {
            switch fault.kind {
            case .wrongClock(let offset): conditions.clockOffset = Int64(offset * Double(FileTime.ticksPerSecond))
            case .narrowCounters: conditions.hasNarrowCounters = true
            default: break
            }
        }
        return conditions
    }

    private func lastingConditions(of host: Int, at time: FileTime) -> HostConditions {
        var conditions = self.lasting[host] ?? HostConditions()
        for fault in self.byHost[host] ?? [] where fault.start <= time {
            switch fault.kind {
            case .reboot(let down):
                let boot = min(fault.start.adding(seconds: down), time)
                if conditions.bootTime.map({ $0 < boot }) ?? true { conditions.bootTime = boot }
            case .counterReset:
                if conditions.countersSince.map({ $0 < fault.start }) ?? true { conditions.countersSince = fault.start }
            default: break
            }
        }
        if let boot = conditions.bootTime, let reset = conditions.countersSince, reset < boot {
            conditions.countersSince = nil
        }
        return conditions
    }

    /// Hosts whose listeners a fault may close, now or later.
    var hostsWithListenerFaults: [Int] {
        self.byHost.filter { $0.value.contains { $0.kind.concernsListener } }.keys.sorted()
    }

    /// Whether nobody listens at a host.
    func isDown(_ host: Int, at time: FileTime) -> Bool {
        (self.byHost[host] ?? []).contains { fault in
            switch fault.kind {
            case .refused: fault.isActive(at: time)
            case .reboot(let down): time >= fault.start && time < fault.start.adding(seconds: down)
            default: false
            }
        }
    }

    /// How a host's port answers connects.
    func mode(of port: HostPort, at host: Int, _ time: FileTime) -> PortMode {
        if self.isDown(host, at: time) { return .closed }
        var mode: PortMode = port == .smb ? .closed : .open
        for fault in self.byHost[host] ?? [] where fault.isActive(at: time) {
            switch fault.kind {
            case .decoy(let decoy): mode = decoy.openPorts.contains(port) ? .open : .closed
            case .portsClosed(let ports) where ports.contains(port): return .closed
            case .portsSilent(let ports) where ports.contains(port): return .silent
            default: break
            }
        }
        return mode
    }

    /// Reboots of a host that began after one instant and not after another.
    func reboots(of host: Int, after start: FileTime, until end: FileTime) -> Bool {
        (self.byHost[host] ?? []).contains { fault in
            guard case .reboot = fault.kind else { return false }
            return fault.start > start && fault.start <= end
        }
    }
}
