import Foundation
import Logging
import NMSCore
import Testing

@testable import NMSQueue

@Suite struct AckMetadataTests {
    @Test func readsTheShortForm() throws {
        let metadata = try #require(AckMetadata(replySubject: "$JS.ACK.S.poller-3.2.17.18.1700000000000000000.5"))
        #expect(metadata.stream == "S" && metadata.consumer == "poller-3")
        #expect(metadata.deliveryCount == 2 && metadata.streamSequence == 17 && metadata.pending == 5)
    }

    @Test func readsTheLongForm() throws {
        let subject = "$JS.ACK.hub.ACCHASH.S.writer.1.7.8.1700000000000000000.0.rAnDoM"
        let metadata = try #require(AckMetadata(replySubject: subject))
        #expect(metadata.stream == "S" && metadata.consumer == "writer")
        #expect(metadata.deliveryCount == 1 && metadata.streamSequence == 7 && metadata.pending == 0)
    }

    @Test(arguments: ["", "_INBOX.x.1", "$JS.ACK.S.c.1.2.3.4", "$JS.ACK.S.c.x.2.3.4.5", "$JS.ACK.S.c.0.2.3.4.5"])
    func refusesAnythingElse(subject: String) {
        #expect(AckMetadata(replySubject: subject) == nil)
    }
}

@Suite struct QueueOptionsTests {
    @Test func logsShowNoUserInformation() {
        let options = QueueOptions(servers: ["nats://user:p@ss@a:4222", "tls://token@b:4222", "c:4222"])
        #expect(options.safeServers == "nats://a:4222,tls://b:4222,c:4222")
    }

    @Test func readsSeveralServers() throws {
        #expect(try QueueOptions.servers(inURL: "nats://a:1, tls://b:2,c") == ["nats://a:1", "tls://b:2", "c"])
        #expect(throws: QueueError.self) { try QueueOptions.servers(inURL: " ") }
        #expect(throws: QueueError.self) { try QueueOptions.servers(inURL: "http://a") }
    }
}

@Suite struct QueueTopologyTests {
    @Test func duplicatesAreKnownLongerThanAMessageCanTravel() {
        let topology = QueueTopology(options: QueueOptions(servers: [], pollTimeout: .seconds(100)))
        for stream in topology.streams where stream.name == QueueNames.pollJobsStream {
            let ackWait = topology.pollerConsumer(partition: 0).ackWait
            #expect(ackWait > Duration.seconds(101).nanoseconds)
            #expect(stream.duplicateWindow > ackWait * Int64(QueueLimits.maxDeliveries))
        }
        for stream in topology.streams where stream.name == QueueNames.metricsResultsStream {
            #expect(stream.duplicateWindow > topology.writerConsumer.ackWait * Int64(QueueLimits.maxDeliveries))
        }
    }

    @Test func configurationStringsAreQuoted() {
        #expect(NATSServerConfiguration.quoted("/a b/\"c\"\\") == #""/a b/\"c\"\\""#)
    }
}

@Suite struct DeadLetterTests {
    private static func letter(_ payload: Data) -> DeadLetter {
        let message = NATSMessage(subject: "s", reply: nil, payload: payload, messageID: "id")
        return DeadLetter(of: message, reason: "r", deliveryCount: 2, at: Date(timeIntervalSince1970: 0))
    }

    @Test func keepsTextAsText() {
        let letter = Self.letter(Data("{\"ü\":1}".utf8))
        #expect(letter.encoding == .text && letter.payload == "{\"ü\":1}" && letter.payloadBytes == 8)
        #expect(letter.messageID == "id" && letter.deliveryCount == 2)
    }

    @Test func keepsBytesAsBase64() {
        let letter = Self.letter(Data([0xff, 0xfe]))
        #expect(letter.encoding == .base64 && letter.payload == "//4=")
    }

    @Test func fitsIntoItsStreamWhateverThePayload() throws {
        let letter = Self.letter(Data(repeating: 1, count: 2 * QueueLimits.buriedPayload))
        #expect(letter.payloadBytes == 2 * QueueLimits.buriedPayload)
        #expect(try NMSJSON.encoder().encode(letter).count <= 6 * QueueLimits.buriedPayload + 1_024)
    }
}

@Suite struct EmbeddedNATSValuesTests {
    @Test func aMissingServerIsFoundOut() {
        #expect(EmbeddedNATS.findServer(preferring: "/nonexistent/nats-server") == nil)
        #expect(QueueError.serverMissing.description.contains("apt install nats-server"))
    }

    @Test func logLinesHaveLevels() {
        #expect(EmbeddedNATS.level(ofLine: "[1] [ERR] x") == .error)
        #expect(EmbeddedNATS.level(ofLine: "[1] [WRN] x") == .warning)
        #expect(EmbeddedNATS.level(ofLine: "[1] [INF] x") == .debug)
    }
}
