internal import Logging
internal import NMSCore
internal import ServiceLifecycle

/// What the API does beside answering: follows device events and cleans up (specification §7.2).
struct MaintenanceService: Service {
    /// How long to wait before subscribing anew when events ended or could not be had.
    static let resubscribeDelay: Duration = .seconds(2)
    /// Spent sessions are deleted in every n-th clean-up: they cost disk, not correctness.
    static let sessionCleanupPeriod = 15

    let services: APIServices
    let eventSource: (any DeviceEventSource)?
    let interval: Duration
    let logger: Logger

    func run() async throws {
        // Both loops end by cancellation, and so at once when a graceful shutdown starts.
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await self.followEvents() }
                group.addTask { await self.cleanUp() }
            }
        }
    }

    private func followEvents() async {
        guard let eventSource = self.eventSource else { return }
        while !Task.isCancelled {
            do {
                let events = try await eventSource.deviceEvents()
                // What was announced before the subscription was not heard.
                self.services.forgetAll()
                for await event in events { self.services.handle(event) }
            } catch {
                self.logger.warning("device events can't be followed", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: Self.resubscribeDelay)
        }
    }

    private func cleanUp() async {
        var round = 0
        while (try? await Task.sleep(for: self.interval)) != nil {
            self.services.removeExpired()
            do {
                try await self.services.auth.recordCountedFailures()
            } catch {
                self.logger.warning("failed logins are missing from the audit", metadata: ["error": "\(error)"])
            }
            round += 1
            guard round % Self.sessionCleanupPeriod == 0 else { continue }
            do {
                try await self.services.auth.removeExpiredSessions()
            } catch {
                self.logger.warning("expired sessions can't be removed", metadata: ["error": "\(error)"])
            }
        }
    }
}
