import Foundation
import NMSCore
import Supervision
import SupervisionTesting
import Testing

@testable import NMSQueue

/// A result that the queue has taken is there until a writer has settled it, whatever happens to writers.
@Suite(.timeLimit(.minutes(2))) struct ResultSafetyTests {
    private static func options(_ server: EmbeddedNATS) -> QueueOptions {
        var options = server.queueOptions
        options.resultAckWait = .milliseconds(200)
        return options
    }

    private static func maxDeliver(_ queue: NATSQueue) async throws -> Int? {
        struct Answer: Decodable {
            struct Config: Decodable { var max_deliver: Int }
            var config: Config
        }
        let subject = "$JS.API.CONSUMER.INFO.\(QueueNames.metricsResultsStream).\(QueueNames.writerConsumer)"
        let answer = try await queue.requester.request(Data(), to: subject)
        return try JSONDecoder().decode(Answer.self, from: answer.payload).config.max_deliver
    }

    /// Beginning with a consumer that gives up after five deliveries, as somebody may have made it.
    @Test func aResultOutlivesEightWritersThatWereKilled() async throws {
        try await QueueFixture.withServer { server in
            let options = Self.options(server)
            let publisher = try await NATSQueue.connect(options, logger: QueueFixture.logger)
            var limited = publisher.topology.writerConsumer
            limited.maxDeliver = 5
            try await publisher.api.ensureConsumer(limited, stream: QueueNames.metricsResultsStream)
            #expect(try await Self.maxDeliver(publisher) == 5)
            try await publisher.publish(QueueFixture.result("precious"))
            var counts: [Int] = []
            for _ in 1...8 {
                let writer = try await NATSQueue.connect(options, logger: QueueFixture.logger)
                let stream = try await writer.metricsResults(maxOutstanding: 10)
                var results = stream.makeAsyncIterator()
                let taken = try #require(await results.next())
                counts.append(taken.deliveryCount)
                // Neither settled nor handed back: it was in the hands of a process that is no more.
                await writer.shutDown()
            }
            #expect(try await Self.maxDeliver(publisher) == -1)
            #expect(counts == counts.sorted() && counts.last! >= 8)
            // One that has trouble of its own does no harm either.
            let troubled = try await NATSQueue.connect(options, logger: QueueFixture.logger)
            for await delivery in try await troubled.metricsResults(maxOutstanding: 10) {
                #expect(delivery.deliveryCount > 8)
                try await delivery.reject(.milliseconds(1))
                break
            }
            await troubled.shutDown()
            for await delivery in try await publisher.metricsResults(maxOutstanding: 10) {
                #expect(delivery.message == QueueFixture.result("precious"))
                // Its count says nothing: nats-server 2.9 sometimes begins to count anew here.
                try await delivery.acknowledge()
                break
            }
            #expect(
                try await SupervisionTesting.eventually {
                    try await publisher.backlog()
                        == QueueBacklog(pollJobs: 0, discoveryJobs: 0, metricsResults: 0, dead: 0)
                }
            )
            await publisher.shutDown()
        }
    }

    @Test func whoeverBuriesAResultKeepsAllOfIt() async throws {
        try await QueueFixture.withQueue { queue, _ in
            var result = QueueFixture.result("big")
            result.error = String(repeating: "\"ü", count: 10_000)
            try await queue.publish(result)
            for await delivery in try await queue.metricsResults(maxOutstanding: 10) {
                try await delivery.bury("the row is refused")
                break
            }
            let letter = try #require(try await QueueFixture.letters(queue).first)
            #expect(try NMSJSON.decoder().decode(MetricsResult.self, from: Data(letter.payload.utf8)) == result)
            #expect(letter.reason == "the row is refused")
            #expect(QueueLimits.buriedPayload >= QueueLimits.resultPayload)
        }
    }
}

@Suite struct DeliveryPolicyTests {
    @Test func aRejectedResultComesSoonAtFirstAndNeverTooLate() {
        let pauses = [1, 5, 6, 7, 11, 12, 500, 999].map { DeliveryPolicy.result.pause(after: $0, asked: .seconds(5)) }
        #expect(pauses == [5, 5, 10, 20, 300, 300, 300, 300].map { .seconds($0) })
        #expect(DeliveryPolicy.result.pause(after: 20, asked: .seconds(600)) == .seconds(600))
        #expect(DeliveryPolicy.result.pause(after: 999, asked: .zero) == .zero)
    }

    @Test func aRejectedJobComesWhenItWasAskedTo() {
        #expect(DeliveryPolicy.job.pause(after: 100, asked: .seconds(5)) == .seconds(5))
    }
}
