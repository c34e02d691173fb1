package import Foundation
internal import NMSCore

/// The payload of `nmslite.dead`: what could not be done, and why.
package struct DeadLetter: Codable, Sendable, Equatable {
    package enum Encoding: String, Codable, Sendable { case text, base64 }

    package var subject: String
    package var reason: String
    package var at: Date
    package var deliveryCount: Int
    /// `Nats-Msg-Id`: the job's id.
    package var messageID: String?
    package var encoding: Encoding
    /// The beginning of it when ``payloadBytes`` is more.
    package var payload: String
    package var payloadBytes: Int

    enum CodingKeys: String, CodingKey {
        case subject, reason, at, encoding, payload
        case deliveryCount = "delivery_count"
        case messageID = "message_id"
        case payloadBytes = "payload_bytes"
    }

    init(of message: NATSMessage, reason: String, deliveryCount: Int, at: Date) {
        self.subject = message.subject
        self.reason = reason
        self.at = at.roundedToMilliseconds
        self.deliveryCount = deliveryCount
        self.messageID = message.messageID
        self.payloadBytes = message.payload.count
        let kept = message.payload.prefix(QueueLimits.buriedPayload)
        if let text = String(validating: kept, as: UTF8.self) {
            self.encoding = .text
            self.payload = text
        } else {
            self.encoding = .base64
            self.payload = kept.base64EncodedString()
        }
    }
}
