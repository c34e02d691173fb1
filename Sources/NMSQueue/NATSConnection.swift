internal import CLibnats
internal import Dispatch
internal import Foundation
internal import Logging
internal import Synchronization

/// A connection to NATS through libnats.
///
/// The library's calls may block, and its pointers are not to be used after their end: all of that happens on one
/// serial dispatch queue, never on Swift's cooperative threads. The library reconnects for ever by itself.
final class NATSConnection: Sendable {
    /// What happens to a connection.
    enum Event: Sendable {
        case disconnected
        case reconnected
        case closed
        /// Such as a slow consumer, or a refused operation.
        case problem(String)
    }

    /// Used only on ``queue``.
    struct Pointers {
        var connection: OpaquePointer?
        var subscriptions: [UInt: OpaquePointer] = [:]
    }

    private struct State {
        var isConnected = false
        var isClosed = false
        var reconnects = 0
        var listeners: [Int: @Sendable (Event) -> Void] = [:]
        var nextListener = 0
        var closing: [CheckedContinuation<Void, Never>] = []
    }

    static let connectionHandlers = HandleTable<@Sendable (Event) -> Void>()
    static let messageHandlers = HandleTable<@Sendable (NATSMessage) -> Void>()
    static let completionHandlers = HandleTable<@Sendable () -> Void>()

    /// Milliseconds that the server may take to answer a flush.
    static let flushTimeout: Int64 = 2_000
    /// How often a flush is tried that something depends on: little enough for a shutdown while NATS hangs.
    static let flushAttempts = 2
    /// Bytes that every server takes, whatever its limit.
    private static let smallPayload = 1 << 10
    /// The text of ``Event/problem(_:)`` when the library dropped messages.
    static let slowConsumer = text(NATS_SLOW_CONSUMER)

    /// Opened once, for the life of the process: closing the library while a callback runs is not worth its risk.
    private static let open: natsStatus = nats_Open(-1)

    let logger: Logger
    let queue = DispatchQueue(label: "nmslite.nats")
    /// What ``post(_:to:reply:messageID:failed:)`` was given and the library was not yet: many messages cost one turn of
    /// ``queue``, which costs more than handing over a message.
    private let outbox = Mutex<[Outgoing]>([])
    let pointers = Mutex(Pointers())
    private let state = Mutex(State())

    private struct Outgoing: Sendable {
        var payload: Data
        var subject: String
        var reply: String?
        var messageID: String?
        var failed: @Sendable (any Error) -> Void
    }

    private init(logger: Logger) {
        self.logger = logger
    }

    deinit {
        // Without a close() before: the library's threads end, what was not sent yet is lost.
        self.pointers.withLock { pointers in
            for subscription in pointers.subscriptions.values { natsSubscription_Destroy(subscription) }
            natsConnection_Destroy(pointers.connection)
        }
    }

    var isConnected: Bool { self.state.withLock { $0.isConnected && !$0.isClosed } }
    var reconnects: Int { self.state.withLock { $0.reconnects } }

    /// Connects and signs in.
    /// - Parameter reconnecting: whether the connection is renewed for ever when it is lost.
    /// - Throws: ``QueueError/cannotConnect(servers:reason:)``, ``QueueError/library(operation:reason:)``.
    static func connect(_ options: QueueOptions, reconnecting: Bool = true, logger: Logger) async throws
        -> NATSConnection
    {
        guard self.open == NATS_OK else { throw QueueError.library(operation: "open", reason: self.text(self.open)) }
        let connection = NATSConnection(logger: logger)
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            connection.queue.async {
                continuation.resume(with: Result { try connection.connect(options, reconnecting: reconnecting) })
            }
        }
        return connection
    }

    /// Hears of what happens to the connection, until ``removeListener(_:)``. Called on the library's threads.
    func addListener(_ listener: @escaping @Sendable (Event) -> Void) -> Int {
        self.state.withLock { state in
            state.nextListener += 1
            state.listeners[state.nextListener] = listener
            return state.nextListener
        }
    }

    func removeListener(_ id: Int) {
        _ = self.state.withLock { $0.listeners.removeValue(forKey: id) }
    }

    /// Runs `body` with the connection on the dispatch queue.
    /// - Throws: ``QueueError/closed``, or what `body` throws.
    func perform<Result: Sendable>(_ body: @escaping @Sendable (OpaquePointer) throws -> Result) async throws -> Result
    {
        try await withCheckedThrowingContinuation { continuation in
            self.queue.async {
                // In the order in which they were asked for.
                self.handOver()
                guard let pointer = self.pointers.withLock({ Unchecked($0.connection) }).value else {
                    return continuation.resume(throwing: QueueError.closed)
                }
                continuation.resume(with: Swift.Result { try body(pointer) })
            }
        }
    }

    /// Hands a message to the library, which sends it soon.
    func publish(_ payload: Data, to subject: String, reply: String? = nil, messageID: String? = nil) async throws {
        try await self.perform { try Self.publish(payload, to: subject, reply: reply, messageID: messageID, on: $0) }
    }

    /// The same without waiting; a failure is told to `failed`.
    func post(
        _ payload: Data,
        to subject: String,
        reply: String? = nil,
        messageID: String? = nil,
        failed: @escaping @Sendable (any Error) -> Void
    ) {
        let outgoing = Outgoing(payload: payload, subject: subject, reply: reply, messageID: messageID, failed: failed)
        let isFirst = self.outbox.withLock { outbox in
            outbox.append(outgoing)
            return outbox.count == 1
        }
        // Whoever was first has asked for the turn that takes this one along.
        if isFirst { self.queue.async { self.handOver() } }
    }

    /// Hands what waits to the library. On ``queue``.
    func handOver() {
        let waiting = self.outbox.withLock { outbox in
            defer { outbox = [] }
            return outbox
        }
        guard !waiting.isEmpty else { return }
        let pointer = self.pointers.withLock { Unchecked($0.connection) }.value
        for outgoing in waiting {
            guard let pointer else {
                outgoing.failed(QueueError.closed)
                continue
            }
            do {
                try Self.publish(
                    outgoing.payload,
                    to: outgoing.subject,
                    reply: outgoing.reply,
                    messageID: outgoing.messageID,
                    on: pointer
                )
            } catch {
                outgoing.failed(error)
            }
        }
    }

    /// Returns when the server has read what was sent to it before, such as subscriptions.
    /// - Throws: ``QueueError/disconnected`` and other ``QueueError``s; nothing is known then.
    func flush() async throws {
        try await self.perform { try Self.check(natsConnection_FlushTimeout($0, Self.flushTimeout), "flush") }
    }

    /// Sends what is left, and closes. Bounded by ``QueueLimits/drainTimeout``.
    func close() async {
        await withCheckedContinuation { continuation in
            let closed = self.state.withLock { state in
                if !state.isClosed { state.closing.append(continuation) }
                return state.isClosed
            }
            if closed { return continuation.resume() }
            self.queue.async {
                guard let pointer = self.pointers.withLock({ Unchecked($0.connection) }).value else { return }
                let timeout = Int64(QueueLimits.drainTimeout / .milliseconds(1))
                // Refused while it is reconnecting: then there is nobody to send to.
                if natsConnection_DrainTimeout(pointer, timeout) != NATS_OK { natsConnection_Close(pointer) }
            }
        }
        self.queue.async {
            let ended = self.pointers.withLock { pointers in
                defer { pointers = Pointers() }
                return Unchecked(pointers)
            }
            for subscription in ended.value.subscriptions.values { natsSubscription_Destroy(subscription) }
            natsConnection_Destroy(ended.value.connection)
        }
    }

    private func handle(_ event: Event) {
        let (listeners, closing) = self.state.withLock {
            state -> ([@Sendable (Event) -> Void], [CheckedContinuation<Void, Never>]) in
            var closing: [CheckedContinuation<Void, Never>] = []
            switch event {
            case .disconnected:
                state.isConnected = false
                // Part of closing, and no news then.
                if !state.closing.isEmpty { return ([], []) }
            case .reconnected:
                state.isConnected = true
                state.reconnects += 1
            case .closed:
                state.isConnected = false
                state.isClosed = true
                swap(&closing, &state.closing)
            case .problem: break
            }
            return (Array(state.listeners.values), closing)
        }
        for listener in listeners { listener(event) }
        for continuation in closing { continuation.resume() }
    }
}

/// Carries a C pointer between places that the serial queue orders.
struct Unchecked<Value>: @unchecked Sendable {
    // The dispatch queue is the only user of the pointers, one block at a time.
    let value: Value

    init(_ value: Value) {
        self.value = value
    }
}

// MARK: - The library

extension NATSConnection {
    static func text(_ status: natsStatus) -> String { String(cString: natsStatus_GetText(status)) }

    static func check(_ status: natsStatus, _ operation: String) throws {
        switch status {
        case NATS_OK: return
        case NATS_CONNECTION_CLOSED, NATS_DRAINING: throw QueueError.closed
        case NATS_INSUFFICIENT_BUFFER, NATS_CONNECTION_DISCONNECTED: throw QueueError.disconnected
        default: throw QueueError.library(operation: operation, reason: self.text(status))
        }
    }

    private static func publish(
        _ payload: Data,
        to subject: String,
        reply: String?,
        messageID: String?,
        on connection: OpaquePointer
    ) throws {
        if reply == nil, messageID == nil, payload.count <= Self.smallPayload {
            // Such as an acknowledgement: no message object for a few bytes.
            let status = payload.withUnsafeBytes {
                natsConnection_Publish(connection, subject, $0.baseAddress, Int32($0.count))
            }
            return try self.check(status, "publish")
        }
        var message: OpaquePointer?
        let status = payload.withUnsafeBytes { bytes in
            natsMsg_Create(&message, subject, reply, bytes.baseAddress, Int32(bytes.count))
        }
        try self.check(status, "create a message")
        defer { natsMsg_Destroy(message) }
        if let messageID {
            try self.check(natsMsgHeader_Set(message, NATSMessage.messageIDHeader, messageID), "set a header")
        }
        let limit = natsConnection_GetMaxPayload(connection)
        guard limit <= 0 || payload.count <= limit else {
            throw QueueError.payloadTooLarge(subject: subject, bytes: payload.count, limit: Int(limit))
        }
        try self.check(natsConnection_PublishMsg(connection, message), "publish")
    }

    private func connect(_ options: QueueOptions, reconnecting: Bool) throws {
        var handle: OpaquePointer?
        try Self.check(natsOptions_Create(&handle), "create options")
        defer { natsOptions_Destroy(handle) }
        try Self.apply(options, reconnecting: reconnecting, to: handle)
        // Weak: the table would keep the connection, and the connection is what ends the entry.
        let closure = Self.connectionHandlers.insert { [weak self] event in self?.handle(event) }
        try self.setCallbacks(of: handle, closure: closure)
        var connection: OpaquePointer?
        let status = natsConnection_Connect(&connection, handle)
        guard status == NATS_OK else {
            Self.connectionHandlers.remove(closure)
            throw QueueError.cannotConnect(servers: options.safeServers, reason: Self.text(status))
        }
        let connected = Unchecked(connection)
        self.pointers.withLock { $0.connection = connected.value }
        self.state.withLock { $0.isConnected = true }
    }

    private static func apply(_ options: QueueOptions, reconnecting: Bool, to handle: OpaquePointer?) throws {
        var servers = options.servers.map { UnsafePointer<CChar>(strdup($0)) }
        defer { servers.forEach { free(UnsafeMutablePointer(mutating: $0)) } }
        try self.check(natsOptions_SetServers(handle, &servers, Int32(servers.count)), "set the servers")
        try self.check(natsOptions_SetName(handle, "nmslite"), "set the name")
        let timeout = Int64(options.connectTimeout / .milliseconds(1))
        try self.check(natsOptions_SetTimeout(handle, timeout), "set the timeout")
        if let token = options.token { try self.check(natsOptions_SetToken(handle, token), "set the token") }
        if let file = options.credentialsFile {
            let status = natsOptions_SetUserCredentialsFromFiles(handle, file, nil)
            guard status == NATS_OK else {
                throw QueueError.configuration("the NATS credentials file \(file): \(self.text(status))")
            }
        }
        if let file = options.caFile {
            let status = natsOptions_LoadCATrustedCertificates(handle, file)
            guard status == NATS_OK else {
                throw QueueError.configuration("the NATS CA file \(file): \(self.text(status))")
            }
        }
        if options.caFile != nil || options.servers.contains(where: { $0.hasPrefix("tls://") }) {
            try self.check(natsOptions_SetSecure(handle, true), "ask for TLS")
        }
        try self.check(natsOptions_SetAllowReconnect(handle, reconnecting), "set reconnecting")
        try self.check(natsOptions_SetMaxReconnect(handle, -1), "set reconnecting")
        try self.check(natsOptions_SetReconnectBufSize(handle, Int32(QueueLimits.reconnectBuffer)), "set the buffer")
        try self.check(natsOptions_SetMaxPendingMsgs(handle, Int32(QueueLimits.pendingMessages)), "set the limit")
        // A dead server is noticed within a minute, even when its host vanished.
        try self.check(natsOptions_SetPingInterval(handle, 20_000), "set the ping interval")
        try self.check(natsOptions_SetMaxPingsOut(handle, 2), "set the ping limit")
    }

    private func setCallbacks(of handle: OpaquePointer?, closure: UInt) throws {
        let closure = closure.closure
        try Self.check(
            natsOptions_SetDisconnectedCB(handle, { NATSConnection.connectionHandlers[$1]?(.disconnected) }, closure),
            "set a callback"
        )
        try Self.check(
            natsOptions_SetReconnectedCB(handle, { NATSConnection.connectionHandlers[$1]?(.reconnected) }, closure),
            "set a callback"
        )
        try Self.check(
            natsOptions_SetClosedCB(
                handle,
                {
                    NATSConnection.connectionHandlers[$1]?(.closed)
                    NATSConnection.connectionHandlers.remove(UInt(bitPattern: $1))
                },
                closure
            ),
            "set a callback"
        )
        try Self.check(
            natsOptions_SetErrorHandler(
                handle,
                { NATSConnection.connectionHandlers[$3]?(.problem(NATSConnection.text($2))) },
                closure
            ),
            "set a callback"
        )
        try Self.check(
            natsOptions_SetCustomReconnectDelay(handle, { _, attempts, _ in reconnectDelay(attempts: attempts) }, nil),
            "set the reconnect delay"
        )
    }
}

/// Milliseconds before the servers are tried again: 50 ms doubling up to 5 s, and as much again at random.
private func reconnectDelay(attempts: Int32) -> Int64 {
    let base = min(Int64(50) << Int64(min(max(attempts - 1, 0), 10)), 5_000)
    return base + Int64.random(in: 0...base)
}
