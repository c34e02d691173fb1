import Testing

@testable import WindowsSimulator

struct FaultFileTests {
    static let start = CivilDate(year: 2026, month: 6, day: 1).fileTime
    static let addresses = AddressRange(base: IPv4("127.1.0.1")!, count: 20)!
    private let file = FaultFile(addresses: Self.addresses, start: Self.start)

    @Test func hostsTimesAndParameters() throws {
        let faults = try self.file.parse(
            """
            - hosts: "127.1.0.1-127.1.0.9"
              fault: slow_query
              after: 30s
              for: 60s
              delay: 5s
              class: win32_operatingsystem
            - {hosts: [127.1.0.10, 127.1.0.12], fault: access_denied}
            - {hosts: 127.1.0.16/30, fault: wrong_clock, offset: -1h}
            - {hosts: all, fault: quota, limit: 15}
            - {hosts: 127.1.0.1, fault: stalled_connection, at: query, after: 500ms}
            """
        )
        #expect(faults.count == 5)
        #expect(faults[0].hosts == Array(0...8))
        #expect(faults[0].kind == .slowQuery(delay: 5, wmiClass: "Win32_OperatingSystem"))
        #expect(faults[0].start == Self.start.adding(seconds: 30))
        #expect(faults[0].end == Self.start.adding(seconds: 90))
        #expect(faults[1].hosts == [9, 11])
        #expect(faults[1].end == nil)
        #expect(faults[2].hosts == [15, 16, 17, 18])
        #expect(faults[2].kind == .wrongClock(offset: -3_600))
        #expect(faults[3].hosts.count == 20)
        #expect(faults[4].start == Self.start.adding(seconds: 0.5))
    }

    @Test func nothingIsNoFault() throws {
        #expect(try self.file.parse("").isEmpty)
        #expect(try self.file.parse("[]").isEmpty)
        #expect(try self.file.parse("# only a comment\n").isEmpty)
    }

    /// Every name in the table of docs/simulator.md.
    @Test(arguments: [
        "wrong_clock", "slow_query", "stalled_connection", "drop_mid_answer", "unauthorized_after", "access_denied",
        "quota", "missing_class", "provider_failure", "counter_reset", "reboot", "counters_32bit", "garbage",
        "oversized_answer", "refused", "wrong_password", "plain_refused", "basic_only", "tls_expired_certificate",
        "tls_wrong_name", "tls_untrusted", "dcom_privacy_required", "activation_denied", "hostname_bindings",
        "foreign_bindings", "dynamic_port_closed", "small_fragments", "split_answers", "namespace_denied",
        "enumeration_error", "smart_enumerator_refused", "bad_signature", "objects_reclaimed", "single_rows",
        "timed_out_first", "pings_denied", "single_interface", "ports_closed", "ports_silent", "not_windows_http",
        "ssh_banner", "tar_pit", "other_wsman", "samba_only",
    ])
    func everyFaultHasDefaults(name: String) throws {
        let faults = try self.file.parse("- {hosts: 127.1.0.1, fault: \(name)}")
        #expect(faults.first?.kind.name == name)
    }

    @Test(arguments: [
        ("- {hosts: 127.1.0.1, fault: nonsense}", "fault 1: there is no fault nonsense"),
        ("- {hosts: 127.1.0.1}", "fault 1: fault is missing"),
        ("- {fault: refused}", "fault 1: hosts is missing"),
        ("- {hosts: 127.2.0.1, fault: refused}", "holds no host of the fleet (127.1.0.1-127.1.0.20)"),
        ("- {hosts: here, fault: refused}", "here is no address"),
        ("- {hosts: 127.1.0.1, fault: refused, after: soon}", "after: soon is no duration"),
        ("- {hosts: 127.1.0.1, fault: refused, after: -5s}", "after: -5s is no duration"),
        ("- {hosts: 127.1.0.1, fault: refused, delay: 5s}", "refused has no parameter delay"),
        ("- {hosts: 127.1.0.1, fault: slow_query, class: Win32_Foo}", "class: Win32_Foo is not one of"),
        ("- {hosts: 127.1.0.1, fault: plain_refused, status: 404}", "status: 404"),
        ("- {hosts: 127.1.0.1, fault: ports_closed, ports: smb}", "ports: smb is no list"),
        ("- {hosts: 127.1.0.1, fault: tar_pit, ports: dcom}", "tar_pit has no parameter ports"),
        ("hosts: 127.1.0.1", "must be a list"),
        ("- 5", "fault 1: must be a mapping"),
        ("- {hosts: 127.1.0.1, fault: refused}\n- {hosts: 127.1.0.1, fault: x}", "fault 2: there is no fault x"),
        ("[", "not YAML"),
    ])
    func mistakesAreNamed(yaml: String, message: String) {
        let error = #expect(throws: FaultFile.Failure.self) { try self.file.parse(yaml) }
        #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
    }
}

struct FaultPlanTests {
    private static let start = FaultFileTests.start

    private static func at(_ seconds: Double) -> FileTime { Self.start.adding(seconds: seconds) }

    @Test func faultsBeginAndEnd() {
        let fault = Fault(kind: .garbage, hosts: [3], start: Self.at(10), end: Self.at(20))
        let plan = FaultPlan().replaced(by: [fault], at: Self.start)
        #expect(!plan.active(for: 3, at: Self.at(9.9)).contains(.garbage))
        #expect(plan.active(for: 3, at: Self.at(10)).contains(.garbage))
        #expect(!plan.active(for: 3, at: Self.at(20)).contains(.garbage))
        #expect(!plan.active(for: 4, at: Self.at(15)).contains(.garbage))
    }

    @Test func portsCloseAndFallSilentByThemselves() {
        let faults = [
            Fault(kind: .portsClosed([.winrm]), hosts: [0, 1], start: Self.at(10), end: Self.at(20)),
            Fault(kind: .portsSilent([.dcom]), hosts: [0], start: Self.at(10), end: Self.at(20)),
            Fault(kind: .decoy(.samba), hosts: [2], start: Self.at(0)),
            Fault(kind: .refused, hosts: [1], start: Self.at(15)),
        ]
        let plan = FaultPlan().replaced(by: faults, at: Self.start)
        func modes(_ host: Int, _ seconds: Double) -> [PortMode] {
            HostPort.allCases.map { plan.mode(of: $0, at: host, Self.at(seconds)) }
        }
        #expect(modes(0, 9) == [.open, .open, .open, .closed])
        #expect(modes(0, 10) == [.closed, .open, .silent, .closed])
        #expect(modes(0, 20) == [.open, .open, .open, .closed])
        #expect(modes(1, 16) == [.closed, .closed, .closed, .closed])
        #expect(modes(2, 1) == [.closed, .closed, .closed, .open])
        #expect(plan.hostsWithListenerFaults == [0, 1, 2])
    }

    @Test func hostsMayLieApart() throws {
        let base = try #require(IPv4("127.1.0.1"))
        let range = try #require(AddressRange(base: base, count: 10, step: 13))
        #expect(range.index(of: try #require(IPv4("127.1.0.27"))) == 2)
        #expect(range.index(of: try #require(IPv4("127.1.0.28"))) == nil)
        #expect(range.index(of: try #require(IPv4("127.1.0.131"))) == nil)
        #expect(range.indices(in: try #require(IPv4.range("127.1.0.2-127.1.0.40"))) == [1, 2, 3])
        #expect(range.indices(in: try #require(IPv4.range("127.1.0.2-127.1.0.13"))).isEmpty)
        #expect("\(range)" == "127.1.0.1-127.1.0.118")
        #expect(AddressRange(base: IPv4(value: .max - 12), count: 2, step: 13) == nil)
    }

    @Test func aRebootTakesTheHostDownAndLasts() {
        let fault = Fault(kind: .reboot(down: 5), hosts: [0], start: Self.at(10))
        var plan = FaultPlan().replaced(by: [fault], at: Self.start)
        #expect(plan.conditions(of: 0, at: Self.at(9)).bootTime == nil)
        #expect(plan.isDown(0, at: Self.at(12)))
        #expect(!plan.isDown(0, at: Self.at(15)))
        #expect(plan.conditions(of: 0, at: Self.at(60)).bootTime == Self.at(15))
        #expect(plan.reboots(of: 0, after: Self.at(9), until: Self.at(10)))
        #expect(!plan.reboots(of: 0, after: Self.at(10), until: Self.at(11)))
        // Without it, the counters would jump back to where they were.
        plan = plan.replaced(by: [], at: Self.at(30))
        #expect(plan.conditions(of: 0, at: Self.at(60)).bootTime == Self.at(15))
        #expect(plan.all.isEmpty)
    }

    @Test func aCounterResetLasts() {
        let fault = Fault(kind: .counterReset, hosts: [0], start: Self.at(10), end: Self.at(11))
        var plan = FaultPlan().replaced(by: [fault], at: Self.start)
        #expect(plan.conditions(of: 0, at: Self.at(5)).countersSince == nil)
        #expect(plan.conditions(of: 0, at: Self.at(100)).countersSince == Self.at(10))
        plan = plan.replaced(by: [], at: Self.at(5))
        #expect(plan.conditions(of: 0, at: Self.at(100)).countersSince == nil)
    }

    @Test func slownessCanBeOfOneClass() {
        let faults = ActiveFaults(kinds: [.slowQuery(delay: 20, wmiClass: "Win32_OperatingSystem")])
        #expect(faults.delay(for: "win32_operatingsystem") == 20)
        #expect(faults.delay(for: "Win32_Volume") == 0)
        #expect(ActiveFaults(kinds: [.slowQuery(delay: 2, wmiClass: nil)]).delay(for: nil) == 2)
    }
}
