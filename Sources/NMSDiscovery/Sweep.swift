internal import Foundation
internal import Glibc
internal import NMSCore
internal import Synchronization

/// Performs what ``SweepMachine`` decides: dials, and closes again what opened.
///
/// On a thread of its own with plain sockets and `poll`, since a sweep is little else than system calls: SwiftNIO's
/// channels took several times as long as nmap for the same connects. `discovery.rate` bounds what it takes of the
/// processor.
final class Sweep: Sendable {
    private let targets: DiscoveryTargets
    private let start: Int
    private let ports: [Int]
    private let limits: SweepMachine.Limits
    private let timeout: Duration
    private let report: @Sendable (SweptAddress) -> Void
    private let isCancelled = Atomic(false)

    /// - Parameters:
    ///   - start: addresses before this index are left out.
    ///   - connectTimeout: for each connect.
    ///   - report: called on the sweep's thread for each address that is done; must be quick.
    init(
        targets: DiscoveryTargets,
        from start: Int,
        ports: [Int],
        limits: SweepMachine.Limits,
        connectTimeout: Duration,
        report: @escaping @Sendable (SweptAddress) -> Void
    ) {
        self.targets = targets
        self.start = start
        self.ports = ports
        self.limits = limits
        self.timeout = connectTimeout
        self.report = report
    }

    /// Returns when every address was reported, or soon after the task was cancelled.
    func run() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                Thread.detachNewThread {
                    self.work()
                    continuation.resume()
                }
            }
        } onCancel: {
            self.isCancelled.store(true, ordering: .releasing)
        }
    }

    // MARK: - On the thread

    /// Dials between two looks at those under way.
    private static let dialsPerTurn = 256
    /// The thread sleeps no longer, and so hears of a cancellation in this time.
    private static let longestSleep: Instant = 100_000_000
    /// Answers gather meanwhile: looking at each when it comes would cost more the more are under way.
    private static let shortestSleep: Instant = 1_000_000

    private func work() {
        var machine = SweepMachine(
            addresses: self.targets.count,
            from: self.start,
            ports: self.ports.count,
            limits: self.limits
        )
        var flights = Flights(timeout: self.timeout)
        while true {
            if self.isCancelled.load(ordering: .acquiring) {
                flights.closeAll()
                return
            }
            let sleep: Instant
            switch self.dial(&machine, &flights) {
            case .dial: sleep = 0
            case .finished: return
            case .wait(let until): sleep = max(until - MonotonicClock.now, 0)
            case .waitForCompletion: sleep = Self.longestSleep
            }
            let due = max((flights.firstDeadline ?? .max) - MonotonicClock.now, 0)
            let longest = min(sleep, due, Self.longestSleep)
            for (probe, outcome) in flights.wait(longest == 0 ? 0 : max(longest, Self.shortestSleep)) {
                self.completed(probe, outcome, &machine)
            }
        }
    }

    /// Dials as much as may be dialled now, but no more than ``dialsPerTurn``.
    ///
    /// - Returns: what to do next.
    private func dial(_ machine: inout SweepMachine, _ flights: inout Flights) -> SweepMachine.Step {
        for _ in 0..<Self.dialsPerTurn {
            let now = MonotonicClock.now
            let step = machine.step(at: now)
            guard case .dial(let probe) = step else { return step }
            let address = self.targets[probe.index]
            if let outcome = flights.begin(probe, address: address, port: self.ports[probe.port], at: now) {
                self.completed(probe, outcome, &machine)
            }
        }
        return .dial(SweepProbe(index: 0, port: 0))
    }

    private func completed(_ probe: SweepProbe, _ outcome: SweepMachine.Outcome, _ machine: inout SweepMachine) {
        if let address = machine.completed(probe, outcome, at: MonotonicClock.now) { self.report(address) }
    }
}

/// Connects under way.
private struct Flights: ~Copyable {
    private struct Flight {
        var probe: SweepProbe
        var deadline: Instant
    }

    private let timeout: Instant
    /// In step with ``flights``.
    private var descriptors: [pollfd] = []
    private var flights: [Flight] = []

    init(timeout: Duration) {
        self.timeout = Instant(timeout / .nanoseconds(1))
    }

    deinit { for descriptor in self.descriptors { _ = close(descriptor.fd) } }

    var firstDeadline: Instant? { self.flights.first?.deadline }

    mutating func closeAll() {
        for descriptor in self.descriptors { _ = close(descriptor.fd) }
        self.descriptors = []
        self.flights = []
    }

    /// Begins a connect.
    ///
    /// - Returns: its outcome, if that is known at once.
    mutating func begin(
        _ probe: SweepProbe,
        address: IPAddress,
        port: Int,
        at now: Instant
    ) -> SweepMachine.Outcome? {
        let descriptor = RawSocket.open(isIPv4: address.isIPv4)
        guard descriptor >= 0 else { return DialError.outcome(ofCode: errno) }
        let code = RawSocket.connect(descriptor, address, port: UInt16(truncatingIfNeeded: port))
        guard code == EINPROGRESS || code == EINTR else {
            _ = close(descriptor)
            return code == 0 ? .state(.open) : DialError.outcome(ofCode: code)
        }
        self.descriptors.append(pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0))
        self.flights.append(Flight(probe: probe, deadline: now + self.timeout))
        return nil
    }

    /// Waits until something is over, but no longer than so many nanoseconds; takes out what is over.
    mutating func wait(_ nanoseconds: Instant) -> [(SweepProbe, SweepMachine.Outcome)] {
        let milliseconds = CInt(clamping: (nanoseconds + 999_999) / 1_000_000)
        guard poll(&self.descriptors, nfds_t(self.descriptors.count), milliseconds) >= 0 || errno == EINTR else {
            return []
        }
        let now = MonotonicClock.now
        var over: [(SweepProbe, SweepMachine.Outcome)] = []
        // Those that stay keep their order, which is that of their deadlines.
        var kept = 0
        for index in self.flights.indices {
            let (descriptor, flight) = (self.descriptors[index], self.flights[index])
            if descriptor.revents != 0 {
                over.append((flight.probe, RawSocket.outcome(descriptor.fd)))
                _ = close(descriptor.fd)
            } else if flight.deadline <= now {
                over.append((flight.probe, .state(.silent)))
                _ = close(descriptor.fd)
            } else {
                self.descriptors[kept] = descriptor
                self.flights[kept] = flight
                kept += 1
            }
        }
        self.descriptors.removeLast(self.descriptors.count - kept)
        self.flights.removeLast(self.flights.count - kept)
        return over
    }
}

/// Plain TCP sockets that do not block.
private enum RawSocket {
    static func open(isIPv4: Bool) -> CInt {
        let type = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        return socket(isIPv4 ? AF_INET : AF_INET6, type, 0)
    }

    /// - Returns: 0 for a connection, or the system's error.
    static func connect(_ descriptor: CInt, _ address: IPAddress, port: UInt16) -> CInt {
        let bytes = Self.socketAddress(address, port)
        let length = socklen_t(bytes.count)
        let result = bytes.withUnsafeBytes {
            $0.withMemoryRebound(to: sockaddr.self) { connectSocket(descriptor, $0.baseAddress!, length) }
        }
        return result == 0 ? 0 : errno
    }

    /// A `sockaddr_in` or `sockaddr_in6` of Linux, by its bytes: SwiftNIO declares these structures once more, and
    /// then they are nobody's in an optimised build.
    private static func socketAddress(_ address: IPAddress, _ port: UInt16) -> [UInt8] {
        let family = withUnsafeBytes(of: sa_family_t(address.isIPv4 ? AF_INET : AF_INET6), Array.init)
        let networkPort = [UInt8(port >> 8), UInt8(truncatingIfNeeded: port)]
        let zeros = [UInt8](repeating: 0, count: 8)
        // sin_port, sin_addr, sin_zero; sin6_port, sin6_flowinfo, sin6_addr, sin6_scope_id.
        return address.isIPv4
            ? family + networkPort + address.bytes + zeros
            : family + networkPort + zeros.prefix(4) + address.bytes + zeros.prefix(4)
    }

    /// What came of a connect that is over.
    static func outcome(_ descriptor: CInt) -> SweepMachine.Outcome {
        var code: CInt = 0
        var length = socklen_t(MemoryLayout<CInt>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length) == 0 else {
            return DialError.outcome(ofCode: errno)
        }
        return code == 0 ? .state(.open) : DialError.outcome(ofCode: code)
    }
}

/// The system's function, which has the name of ours.
private func connectSocket(_ descriptor: CInt, _ address: UnsafePointer<sockaddr>, _ length: socklen_t) -> CInt {
    connect(descriptor, address, length)
}

/// A clock that only goes forward.
enum MonotonicClock {
    static var now: Instant { Instant(clamping: DispatchTime.now().uptimeNanoseconds) }
}

/// What an error of connecting says about the host, or about this machine.
enum DialError {
    static func outcome(ofCode code: CInt) -> SweepMachine.Outcome {
        switch code {
        case ECONNREFUSED, ECONNRESET: .state(.closed)
        case ETIMEDOUT: .state(.silent)
        // EPERM and EACCES come from this machine's own packet filter, and for broadcast addresses.
        case EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN, EPERM, EACCES, EAFNOSUPPORT, ENOPROTOOPT, EPROTO:
            .state(.unreachable)
        case EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, EADDRINUSE, EAGAIN: .outOfResources
        default: .state(.failed)
        }
    }
}
