internal import NIOCore
internal import NIOPosix
internal import NMSCore

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// Performs what ``SweepMachine`` decides, on one event loop: dials, and closes again what opened.
final class Sweep: Sendable {
    /// Dials in one go; other work of the event loop comes in between.
    private static let dialsPerTurn = 64

    private let targets: DiscoveryTargets
    private let ports: [Int]
    private let eventLoop: any EventLoop
    private let driver: NIOLoopBound<Driver>

    /// - Parameters:
    ///   - start: addresses before this index are left out.
    ///   - report: called on the event loop for each address that is done; must be quick.
    static func make(
        targets: DiscoveryTargets,
        from start: Int,
        ports: [Int],
        limits: SweepMachine.Limits,
        connectTimeout: Duration,
        eventLoop: any EventLoop,
        report: @escaping @Sendable (SweptAddress) -> Void
    ) async throws -> Sweep {
        try await eventLoop.submit {
            Sweep(
                targets: targets,
                ports: ports,
                eventLoop: eventLoop,
                driver: Driver(
                    machine: SweepMachine(addresses: targets.count, from: start, ports: ports.count, limits: limits),
                    targets: targets,
                    ports: ports,
                    timeout: TimeAmount(connectTimeout),
                    eventLoop: eventLoop,
                    report: report
                )
            )
        }.get()
    }

    private init(targets: DiscoveryTargets, ports: [Int], eventLoop: any EventLoop, driver: Driver) {
        self.targets = targets
        self.ports = ports
        self.eventLoop = eventLoop
        self.driver = NIOLoopBound(driver, eventLoop: eventLoop)
    }

    /// Returns when every address was reported, or soon after the task was cancelled.
    func run() async {
        let driver = self.driver
        let eventLoop = self.eventLoop
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                eventLoop.execute { driver.value.start { continuation.resume() } }
            }
        } onCancel: {
            eventLoop.execute { driver.value.cancel() }
        }
    }

    /// What lives on the event loop.
    private final class Driver {
        private var machine: SweepMachine
        private let targets: DiscoveryTargets
        private let ports: [Int]
        private let timeout: TimeAmount
        private let eventLoop: any EventLoop
        private let report: @Sendable (SweptAddress) -> Void
        private var channels: [SweepProbe: any Channel] = [:]
        private var finish: (() -> Void)?
        private var isTurning = false
        private var turnScheduled = false
        private var timer: Scheduled<Void>?
        private var isCancelled = false

        init(
            machine: SweepMachine,
            targets: DiscoveryTargets,
            ports: [Int],
            timeout: TimeAmount,
            eventLoop: any EventLoop,
            report: @escaping @Sendable (SweptAddress) -> Void
        ) {
            self.machine = machine
            self.targets = targets
            self.ports = ports
            self.timeout = timeout
            self.eventLoop = eventLoop
            self.report = report
        }

        func start(_ finish: @escaping () -> Void) {
            self.finish = finish
            self.turn()
        }

        func cancel() {
            self.isCancelled = true
            self.machine.cancel()
            for channel in self.channels.values { channel.close(promise: nil) }
            self.scheduleTurn()
        }

        private var now: Instant { Instant(NIODeadline.now().uptimeNanoseconds) }

        private func turn() {
            guard !self.isTurning else { return }
            self.isTurning = true
            defer { self.isTurning = false }
            self.timer?.cancel()
            self.timer = nil
            for _ in 0..<Sweep.dialsPerTurn {
                switch self.machine.step(at: self.now) {
                case .dial(let probe):
                    self.dial(probe)
                case .wait(let instant):
                    let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
                    let deadline = NIODeadline.uptimeNanoseconds(UInt64(max(instant, 0)))
                    self.timer = self.eventLoop.scheduleTask(deadline: deadline) { bound.value.turn() }
                    return
                case .waitForCompletion:
                    return
                case .finished:
                    let finish = self.finish
                    self.finish = nil
                    finish?()
                    return
                }
            }
            self.scheduleTurn()
        }

        private func scheduleTurn() {
            guard !self.turnScheduled else { return }
            self.turnScheduled = true
            let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
            self.eventLoop.execute {
                bound.value.turnScheduled = false
                bound.value.turn()
            }
        }

        private func dial(_ probe: SweepProbe) {
            let address: SocketAddress
            do {
                let target = self.targets[probe.index]
                address = try SocketAddress(
                    packedIPAddress: ByteBuffer(bytes: target.bytes),
                    port: self.ports[probe.port]
                )
            } catch {
                self.completed(probe, .state(.failed))
                return
            }
            let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
            ClientBootstrap(group: self.eventLoop)
                .connectTimeout(self.timeout)
                .channelOption(.autoRead, value: false)
                .channelInitializer { channel in
                    bound.value.channels[probe] = channel
                    return bound.eventLoop.makeSucceededVoidFuture()
                }
                .connect(to: address)
                .hop(to: self.eventLoop)
                .whenComplete { bound.value.dialled(probe, $0) }
        }

        private func dialled(_ probe: SweepProbe, _ result: Result<any Channel, any Error>) {
            self.channels[probe] = nil
            switch result {
            case .failure(let error):
                self.completed(probe, DialError.outcome(of: error))
            case .success(let channel):
                let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
                channel.close().whenComplete { _ in bound.value.completed(probe, .state(.open)) }
            }
        }

        private func completed(_ probe: SweepProbe, _ outcome: SweepMachine.Outcome) {
            let address = self.machine.completed(probe, outcome, at: self.now)
            // What was closed by cancelling says nothing about the host.
            if let address, !self.isCancelled { self.report(address) }
            self.scheduleTurn()
        }
    }
}

/// What an error of connecting says about the host, or about this machine.
enum DialError {
    static func outcome(of error: any Error) -> SweepMachine.Outcome {
        switch error {
        case ChannelError.connectTimeout: .state(.silent)
        case let error as IOError: self.outcome(ofCode: error.errnoCode)
        default: .state(.failed)
        }
    }

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
