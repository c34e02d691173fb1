internal import Foundation

/// What JetStream writes into the reply subject of a message that it delivers.
///
/// `$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>`, or the longer form
/// with domain and account hash before the stream and a token at the end (NATS ADR-15).
struct AckMetadata: Equatable, Sendable {
    var stream: String
    var consumer: String
    /// 1 on the first delivery.
    var deliveryCount: Int
    var streamSequence: UInt64
    /// Messages that wait for this consumer beyond this one.
    var pending: Int

    /// nil for any other subject.
    init?(replySubject: String) {
        // Every message passes here: bytes, which are split in a third of the time that characters take.
        let prefix = "$JS.ACK."
        guard replySubject.hasPrefix(prefix) else { return nil }
        let tokens = replySubject.utf8.dropFirst(prefix.utf8.count)
            .split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map { Substring($0) }
        guard tokens.count >= 7 else { return nil }
        let start = tokens.count >= 9 ? 2 : 0
        guard let deliveryCount = Int(tokens[start + 2]), deliveryCount > 0,
            let sequence = UInt64(tokens[start + 3]), let pending = Int(tokens[start + 6])
        else { return nil }
        self.stream = String(tokens[start])
        self.consumer = String(tokens[start + 1])
        self.deliveryCount = deliveryCount
        self.streamSequence = sequence
        self.pending = pending
    }
}

/// The bodies of acknowledgements.
enum Acknowledgement {
    static let done = Data("+ACK".utf8)
    static let progress = Data("+WPI".utf8)
    static let terminate = Data("+TERM".utf8)

    static func reject(_ delay: Duration) -> Data {
        delay > .zero ? Data("-NAK {\"delay\": \(delay.nanoseconds)}".utf8) : Data("-NAK".utf8)
    }
}
