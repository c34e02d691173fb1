internal import CLibnats
internal import Foundation
internal import Synchronization

/// A subscription; its handler is called on a thread of the library, one message at a time.
final class NATSSubscription: Sendable {
    private let connection: NATSConnection
    private let handle: UInt

    fileprivate init(connection: NATSConnection, handle: UInt) {
        self.connection = connection
        self.handle = handle
    }

    /// Ends the interest; messages that are already here are still handled.
    func close() {
        let (connection, handle) = (self.connection, self.handle)
        connection.queue.async {
            let subscription = connection.pointers.withLock { Unchecked($0.subscriptions[handle]) }
            guard let pointer = subscription.value else { return }
            if natsSubscription_Drain(pointer) != NATS_OK { connection.remove(subscription: handle) }
        }
    }

    /// Ends the interest, and returns when whatever the server had sent is handled.
    func drain() async {
        let (connection, handle) = (self.connection, self.handle)
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            connection.queue.async {
                defer { continuation.resume() }
                // Requests that want their answers here: behind the end of the interest they would be nobody's.
                connection.handOver()
                let subscription = connection.pointers.withLock { Unchecked($0.subscriptions[handle]) }
                guard let pointer = subscription.value else { return }
                // Beyond the time-out the library drops what is left; the server delivers it again.
                guard natsSubscription_DrainTimeout(pointer, NATSConnection.flushTimeout) == NATS_OK else {
                    return connection.remove(subscription: handle)
                }
                _ = natsSubscription_WaitForDrainCompletion(pointer, NATSConnection.flushTimeout)
            }
        }
    }
}

extension NATSConnection {
    /// Subscribes; returns when the server knows, or will know first of all when it is back.
    func subscribe(
        _ subject: String,
        handler: @escaping @Sendable (NATSMessage) -> Void
    ) async throws -> NATSSubscription {
        let handle = Self.messageHandlers.insert(handler)
        do {
            try await self.perform { connection in
                var subscription: OpaquePointer?
                let status = natsConnection_Subscribe(
                    &subscription,
                    connection,
                    subject,
                    { _, _, message, closure in
                        guard let message else { return }
                        NATSConnection.messageHandlers[closure]?(NATSMessage(copying: message))
                        natsMsg_Destroy(message)
                    },
                    handle.closure
                )
                try Self.check(status, "subscribe to \(subject)")
                let created = Unchecked(subscription)
                self.pointers.withLock { $0.subscriptions[handle] = created.value }
                let completion = Self.completionHandlers.insert { [weak self] in self?.remove(subscription: handle) }
                let completed: natsOnCompleteCB = {
                    NATSConnection.completionHandlers[$0]?()
                    NATSConnection.completionHandlers.remove(UInt(bitPattern: $0))
                }
                try Self.check(
                    natsSubscription_SetOnCompleteCB(subscription, completed, completion.closure),
                    "set a callback"
                )
                // So that what is published next, on whatever connection, arrives. Not when the server is away.
                _ = natsConnection_FlushTimeout(connection, Self.flushTimeout)
            }
        } catch {
            Self.messageHandlers.remove(handle)
            throw error
        }
        return NATSSubscription(connection: self, handle: handle)
    }

    fileprivate func remove(subscription handle: UInt) {
        Self.messageHandlers.remove(handle)
        self.queue.async {
            let subscription = self.pointers.withLock { Unchecked($0.subscriptions.removeValue(forKey: handle)) }
            natsSubscription_Destroy(subscription.value)
        }
    }
}
