internal import CLibnats
internal import Foundation

/// A message, copied out of the library.
struct NATSMessage: Sendable {
    var subject: String
    var reply: String?
    var payload: Data
    /// `Nats-Msg-Id`.
    var messageID: String?
    /// Set on messages of the server's own, such as 408 for a pull request that has expired.
    var status: Int?
    var statusText: String?
}

extension NATSMessage {
    static let messageIDHeader = "Nats-Msg-Id"

    init(copying message: OpaquePointer) {
        self.subject = String(cString: natsMsg_GetSubject(message))
        self.reply = natsMsg_GetReply(message).map { String(cString: $0) }
        let length = Int(natsMsg_GetDataLength(message))
        self.payload =
            if length > 0, let bytes = natsMsg_GetData(message) { Data(bytes: bytes, count: length) } else { Data() }
        self.messageID = Self.header(Self.messageIDHeader, of: message)
        // Statuses have no payload: spares the look-up for every real message.
        if length == 0 {
            self.status = Self.header("Status", of: message).flatMap { Int($0) }
            self.statusText = Self.header("Description", of: message)
        }
    }

    private static func header(_ name: String, of message: OpaquePointer) -> String? {
        var value: UnsafePointer<CChar>?
        guard natsMsgHeader_Get(message, name, &value) == NATS_OK, let value else { return nil }
        return String(cString: value)
    }
}
