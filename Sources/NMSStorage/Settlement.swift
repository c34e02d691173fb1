internal import Logging
internal import NMSCore

/// What is owed to the queue after a batch, and to everybody else.
enum Settlement: Sendable {
    /// Committed.
    case acknowledge([Delivery<MetricsResult>], BatchOutcome)
    case bury(Delivery<MetricsResult>, reason: String)
    case reject([Delivery<MetricsResult>], after: Duration)

    /// Failures are logged only: what is not settled is delivered again and then found to be a duplicate.
    func perform(events: any DeviceEventPublisher, logger: Logger) async {
        switch self {
        case .acknowledge(let items, let outcome):
            // One after another: none waits for the server.
            for item in items { await Self.settle(item, logger) { try await $0.acknowledge() } }
            for event in outcome.events {
                do {
                    try await events.publish(event)
                } catch {
                    logger.warning(
                        "can't publish a device event",
                        metadata: ["event": "\(event.event.rawValue)", "error": "\(error)"]
                    )
                }
            }
        case .bury(let item, let reason): await Self.each([item], logger) { try await $0.bury(reason) }
        case .reject(let items, let delay): await Self.each(items, logger) { try await $0.reject(delay) }
        }
    }

    private static func each(
        _ items: [Delivery<MetricsResult>],
        _ logger: Logger,
        _ settle: @escaping @Sendable (Delivery<MetricsResult>) async throws -> Void
    ) async {
        await withDiscardingTaskGroup { group in
            for item in items {
                group.addTask { await Self.settle(item, logger, settle) }
            }
        }
    }

    private static func settle(
        _ item: Delivery<MetricsResult>,
        _ logger: Logger,
        _ settle: (Delivery<MetricsResult>) async throws -> Void
    ) async {
        do {
            try await settle(item)
        } catch {
            logger.warning(
                "can't settle a result",
                metadata: ["job_id": "\(item.message.jobID)", "error": "\(error)"]
            )
        }
    }
}

extension BatchOutcome {
    /// What other instances and caches are to hear: changed states, then the new rows in one event.
    var events: [DeviceEvent] {
        var events = self.transitions.map {
            DeviceEvent(.statusChanged, deviceID: $0.deviceID, newStatus: $0.status)
        }
        if !self.deviceIDs.isEmpty { events.append(DeviceEvent(.metricsStored, deviceIDs: self.deviceIDs)) }
        return events
    }
}
