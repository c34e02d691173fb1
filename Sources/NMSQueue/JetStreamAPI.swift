internal import Foundation

/// A stream's configuration in the server's JSON. Durations are nanoseconds.
struct StreamConfiguration: Encodable, Sendable, Equatable {
    enum Retention: String, Encodable, Sendable { case limits, workqueue }
    enum Discard: String, Encodable, Sendable { case old, new }

    var name: String
    var subjects: [String]
    var retention: Retention
    var discard: Discard
    var storage = "file"
    /// -1 for no limit.
    var maxMessages: Int
    /// -1 for no limit.
    var maxBytes: Int
    var maxAge: Int64
    var maxMessageSize: Int
    var replicas: Int
    var duplicateWindow: Int64

    enum CodingKeys: String, CodingKey {
        case name, subjects, retention, discard, storage
        case maxMessages = "max_msgs"
        case maxBytes = "max_bytes"
        case maxAge = "max_age"
        case maxMessageSize = "max_msg_size"
        case replicas = "num_replicas"
        case duplicateWindow = "duplicate_window"
    }
}

/// A durable pull consumer's configuration in the server's JSON.
struct ConsumerConfiguration: Encodable, Sendable, Equatable {
    var durableName: String
    var filterSubject: String
    var ackWait: Int64
    var maxAckPending: Int
    var deliverPolicy = "all"
    var ackPolicy = "explicit"
    var replayPolicy = "instant"
    /// Unlimited here: a work queue would keep what the server gives up, unseen. Deliveries are counted by whoever
    /// receives them, who buries what fails too often.
    var maxDeliver = -1

    enum CodingKeys: String, CodingKey {
        case durableName = "durable_name"
        case filterSubject = "filter_subject"
        case ackWait = "ack_wait"
        case maxAckPending = "max_ack_pending"
        case deliverPolicy = "deliver_policy"
        case ackPolicy = "ack_policy"
        case replayPolicy = "replay_policy"
        case maxDeliver = "max_deliver"
    }
}

/// What a stream holds.
struct StreamState: Decodable, Sendable, Equatable {
    var messages: Int
    var bytes: Int
}

/// The server's answer to a publish.
struct PublishAcknowledgement: Sendable, Equatable {
    var sequence: UInt64
    /// The message id was there already: nothing was stored.
    var isDuplicate: Bool
}

/// JetStream's request-and-answer API.
struct JetStreamAPI: Sendable {
    /// The server's `err_code`s that matter here.
    enum ErrorCode {
        static let streamNotFound = 10_059
        /// What the stream's own limits refuse, "maximum messages exceeded" and its kin, and what the server's do.
        static let full: Set<Int> = [10_002, 10_023, 10_028, 10_047, 10_077, 10_122]
    }

    let requester: NATSRequester

    private struct Failure: Decodable {
        var code: Int
        var errCode: Int?
        var description: String?

        enum CodingKeys: String, CodingKey {
            case code, description
            case errCode = "err_code"
        }
    }

    private struct Answer: Decodable {
        var error: Failure?
        var state: StreamState?
        var seq: UInt64?
        var duplicate: Bool?
        var consumers: [ConsumerState]?

        enum CodingKeys: String, CodingKey { case error, state, seq, duplicate, consumers }

        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            self.error = try container.decodeIfPresent(Failure.self, forKey: .error)
            self.state = try container.decodeIfPresent(StreamState.self, forKey: .state)
            self.seq = try container.decodeIfPresent(UInt64.self, forKey: .seq)
            self.duplicate = try container.decodeIfPresent(Bool.self, forKey: .duplicate)
            // A list in some answers, a number in those about the account.
            self.consumers = try? container.decodeIfPresent([ConsumerState].self, forKey: .consumers)
        }
    }

    private struct ConsumerState: Decodable {
        var unacknowledged: Int

        enum CodingKeys: String, CodingKey {
            case unacknowledged = "num_ack_pending"
        }
    }

    private struct CreateConsumer: Encodable {
        var stream: String
        var config: ConsumerConfiguration

        enum CodingKeys: String, CodingKey {
            case stream = "stream_name"
            case config
        }
    }

    /// Makes the stream, or changes it to `configuration`.
    func ensureStream(_ configuration: StreamConfiguration) async throws {
        let body = try JSONEncoder().encode(configuration)
        do {
            _ = try await self.streamState(configuration.name)
        } catch QueueError.refused(_, ErrorCode.streamNotFound, _) {
            try await self.call("STREAM.CREATE.\(configuration.name)", body)
            return
        }
        try await self.call("STREAM.UPDATE.\(configuration.name)", body)
    }

    func streamState(_ name: String) async throws -> StreamState {
        let answer = try await self.call("STREAM.INFO.\(name)", Data())
        guard let state = answer.state else { throw QueueError.badAnswer(subject: "STREAM.INFO.\(name)") }
        return state
    }

    /// Messages that consumers of the stream have and did not settle. One answer tells of 256 consumers, more than any
    /// stream has.
    func unacknowledged(in stream: String) async throws -> Int {
        let answer = try await self.call("CONSUMER.LIST.\(stream)", Data())
        return (answer.consumers ?? []).reduce(0) { $0 + $1.unacknowledged }
    }

    /// Makes the durable consumer, or changes it to `configuration`.
    func ensureConsumer(_ configuration: ConsumerConfiguration, stream: String) async throws {
        let body = try JSONEncoder().encode(CreateConsumer(stream: stream, config: configuration))
        try await self.call("CONSUMER.DURABLE.CREATE.\(stream).\(configuration.durableName)", body)
    }

    /// Sees that JetStream is there for this account.
    func checkAccount() async throws {
        try await self.call("INFO", Data())
    }

    /// Sees that a stream answers, be it that there is no such stream.
    func checkStream(_ name: String) async throws {
        do { _ = try await self.streamState(name) } catch QueueError.refused(_, ErrorCode.streamNotFound, _) {}
    }

    /// Publishes into a stream; returns when the server has stored the message.
    func publish(_ payload: Data, to subject: String, messageID: String?) async throws -> PublishAcknowledgement {
        let message = try await self.requester.request(payload, to: subject, messageID: messageID)
        let answer = try self.decode(message, subject: subject)
        guard let sequence = answer.seq else { throw QueueError.badAnswer(subject: subject) }
        return PublishAcknowledgement(sequence: sequence, isDuplicate: answer.duplicate ?? false)
    }

    static func nextSubject(stream: String, consumer: String) -> String {
        "$JS.API.CONSUMER.MSG.NEXT.\(stream).\(consumer)"
    }

    @discardableResult
    private func call(_ operation: String, _ body: Data) async throws -> Answer {
        let subject = "$JS.API.\(operation)"
        return try self.decode(try await self.requester.request(body, to: subject), subject: subject)
    }

    private func decode(_ message: NATSMessage, subject: String) throws -> Answer {
        guard let answer = try? JSONDecoder().decode(Answer.self, from: message.payload) else {
            throw QueueError.badAnswer(subject: subject)
        }
        guard let error = answer.error else { return answer }
        let code = error.errCode ?? error.code
        let description = error.description ?? "no description"
        if ErrorCode.full.contains(code) { throw QueueError.full(subject: subject, reason: description) }
        throw QueueError.refused(subject: subject, code: code, description: description)
    }
}

extension Duration {
    /// As JetStream's JSON has it.
    var nanoseconds: Int64 { Int64(self / .nanoseconds(1)) }
}
