package import Logging
package import NMSCore

/// Publishes device events after a write.
///
/// The write is committed by then and delivery is at most once by design (specification §7.3): a queue that is down is
/// logged, and the request succeeds; TTLs and the scheduler's regular reading cover the loss.
package struct EventAnnouncer: Sendable {
    private let publisher: any DeviceEventPublisher
    private let logger: Logger

    package init(publisher: any DeviceEventPublisher, logger: Logger) {
        self.publisher = publisher
        self.logger = logger
    }

    func announce(_ event: DeviceEvent) async {
        do {
            try await self.publisher.publish(event)
        } catch {
            self.logger.warning(
                "device event not published",
                metadata: ["event": "\(event.event.rawValue)", "error": "\(error)"]
            )
        }
    }
}
