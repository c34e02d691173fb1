import Logging
import NMSCollectors
import NMSCore
import NMSPoller
import NMSStorage
import ServiceLifecycle

/// A service that a graceful shutdown ends by cancelling it.
struct CancelledService: Service {
    let body: @Sendable () async throws -> Void

    func run() async throws {
        try await cancelWhenGracefulShutdown {
            do { try await self.body() } catch is CancellationError {}
        }
    }
}

/// Keeps something running whose failure is not the end of the instance.
enum Retry {
    private static let pause: Duration = .seconds(2)

    static func untilCancelled(
        _ name: String,
        logger: Logger,
        _ body: @Sendable () async throws -> Void
    ) async {
        while !Task.isCancelled {
            do { try await body() } catch is CancellationError {
                return
            } catch {
                logger.error("\(name) failed; it starts again", metadata: ["error": "\(error)"])
            }
            do { try await Task.sleep(for: self.pause) } catch { return }
        }
    }
}

/// The poller: a graceful shutdown lets polls under way finish before connections are closed.
struct PollerService: Service {
    let poller: Poller
    let collectors: CollectorRegistry
    let logger: Logger

    func run() async throws {
        await withGracefulShutdownHandler {
            await Retry.untilCancelled("poller", logger: self.logger) {
                try await self.poller.run()
                // It returns by itself only after stop().
                if self.poller.isStopping { throw CancellationError() }
            }
        } onGracefulShutdown: {
            self.poller.stop()
        }
        for collector in self.collectors.all { await collector.shutDown() }
    }
}

/// Drops what the poller's side remembers of devices and credentials when they change (specification §7.3).
struct PollEventFollower: Sendable {
    let source: any DeviceEventSource
    let targets: CachedPollTargets
    let gate: LockoutGuard
    let collectors: CollectorRegistry
    let poller: Poller
    let logger: Logger

    func run() async {
        await Retry.untilCancelled("device events", logger: self.logger) {
            let events = try await self.source.deviceEvents()
            // What was missed before is unknown.
            self.targets.invalidateAll()
            for await event in events { await self.handle(event) }
        }
    }

    private func handle(_ event: DeviceEvent) async {
        self.targets.apply(event)
        switch event.event {
        case .credentialUpdated:
            guard let id = event.credentialID else { return }
            self.gate.forget(credentialID: id)
            for collector in self.collectors.all { await collector.forget(credentialID: id) }
        case .deviceDeleted:
            if let id = event.deviceID { await self.forget(id) }
        case .deviceUpdated:
            // A device that is still polled keeps its connection; its collector sees a changed address itself.
            guard let id = event.deviceID else { return }
            do {
                if try await self.targets.pollTarget(deviceID: id) == nil { await self.forget(id) }
            } catch {
                self.logger.warning("device not read", metadata: ["device_id": "\(id)", "error": "\(error)"])
            }
        case .statusChanged, .metricsStored:
            return
        }
    }

    private func forget(_ deviceID: Int) async {
        self.poller.forget(deviceID: deviceID)
        for collector in self.collectors.all { await collector.forget(deviceID: deviceID) }
    }
}
