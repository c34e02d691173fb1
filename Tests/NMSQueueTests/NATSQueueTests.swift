import Foundation
import Glibc
import Logging
import NMSCore
import Supervision
import SupervisionTesting
import Testing

@testable import NMSQueue

/// A real nats-server for the time of a test.
struct QueueFixture {
    static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    static func withServer(
        directory: String? = nil,
        maxFile: Int = 1 << 30,
        _ body: @escaping @Sendable (EmbeddedNATS) async throws -> Void
    ) async throws {
        let parent = try directory ?? SupervisionTesting.makeDirectory()
        defer { if directory == nil { SupervisionTesting.remove(parent) } }
        let server = try await EmbeddedNATS.prepare(
            .init(directory: parent + "/nats", maxFile: maxFile, backOff: BackOff(initial: .milliseconds(50))),
            user: try ServiceUser.forChildren(whenRoot: "postgres"),
            guardExecutable: SupervisionTesting.guardExecutable,
            lock: nil,
            logger: Self.logger
        )
        try await server.whileRunning { try await body(server) }
    }

    static func withQueue(_ body: @escaping @Sendable (NATSQueue, EmbeddedNATS) async throws -> Void) async throws {
        try await self.withServer { server in
            let queue = try await NATSQueue.connect(server.queueOptions, logger: Self.logger)
            do {
                try await body(queue, server)
            } catch {
                await queue.shutDown()
                throw error
            }
            await queue.shutDown()
        }
    }

    static func job(_ id: String, device: Int = 1) -> PollJob {
        PollJob(
            jobID: id,
            deviceID: device,
            credentialID: 2,
            scheduledAt: Date(timeIntervalSince1970: 1_700_000_000),
            interval: 60
        )
    }

    static func result(_ id: String) -> MetricsResult {
        MetricsResult(jobID: id, deviceID: 1, timestamp: Date(timeIntervalSince1970: 1_700_000_000), success: true)
    }

    static func letters(_ queue: NATSQueue) async throws -> [DeadLetter] {
        struct Answer: Decodable {
            struct Message: Decodable { var data: Data }
            var message: Message?
        }
        var letters: [DeadLetter] = []
        for sequence in 1...100 {
            let answer = try await queue.requester.request(
                Data("{\"seq\":\(sequence)}".utf8),
                to: "$JS.API.STREAM.MSG.GET.\(QueueNames.deadStream)"
            )
            guard let data = try JSONDecoder().decode(Answer.self, from: answer.payload).message?.data else { break }
            letters.append(try NMSJSON.decoder().decode(DeadLetter.self, from: data))
        }
        return letters
    }

    /// kill -9 of the nats-server that listens on the port of `server`.
    static func killServer(of server: EmbeddedNATS) throws {
        let guards = SupervisionTesting.processes(containing: "nats-server-guard")
        let port = try #require(server.queueOptions.servers.first?.split(separator: ":").last)
        let mine = guards.flatMap { SupervisionTesting.children(of: $0) }.filter { pid in
            let line = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") ?? Data()
            let arguments = line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
            guard let file = arguments.last, let text = try? String(contentsOfFile: file, encoding: .utf8) else {
                return false
            }
            return text.contains("port: \(port)\n")
        }
        #expect(mine.count == 1)
        for pid in mine { kill(pid, SIGKILL) }
    }
}

@Suite(.timeLimit(.minutes(2))) struct NATSQueueTests {
    @Test func carriesJobsAndResults() async throws {
        try await QueueFixture.withQueue { queue, _ in
            let job = QueueFixture.job("a", device: 42)
            try await queue.publish(job)
            try await queue.publish(QueueFixture.result("a"))
            let partition = Partition.of(deviceID: 42)
            for await delivery in try await queue.pollJobs(partitions: [partition], maxOutstanding: 10) {
                #expect(delivery.message == job)
                #expect(delivery.deliveryCount == 1)
                try await delivery.acknowledge()
                break
            }
            for await delivery in try await queue.metricsResults(maxOutstanding: 10) {
                #expect(delivery.message == QueueFixture.result("a"))
                try await delivery.acknowledge()
                break
            }
            #expect(
                try await SupervisionTesting.eventually {
                    try await queue.backlog()
                        == QueueBacklog(pollJobs: 0, discoveryJobs: 0, metricsResults: 0, dead: 0)
                }
            )
            #expect(queue.status.counts.published == 2)
            #expect(queue.status.counts.acknowledged == 2)
            #expect(queue.status.unsettled == 0)
        }
    }

    @Test func carriesDiscoveries() async throws {
        try await QueueFixture.withQueue { queue, _ in
            let job = QueuedDiscovery(subnet: String(repeating: "ä", count: 5000), discoveryID: 7, publication: 1)
            #expect(job.subnet.count == QueuedDiscovery.maximumSubnetLength)
            try await queue.publish(job)
            try await queue.publish(job)
            try await queue.publish(QueuedDiscovery(subnet: "10.0.0.0/24", discoveryID: 7, publication: 2))
            #expect(try await queue.backlog().discoveryJobs == 2)
            var received: [QueuedDiscovery] = []
            // One at a time: the second comes when the first is settled.
            for await delivery in try await queue.discoveryJobs(maxOutstanding: 1) {
                received.append(delivery.message)
                try await delivery.extend()
                #expect(queue.status.unsettled == 1)
                try await delivery.acknowledge()
                if received.count == 2 { break }
            }
            #expect(received.map(\.publication) == [1, 2])
            #expect(received.first == job)
            #expect(try await SupervisionTesting.eventually { try await queue.backlog().discoveryJobs == 0 })
        }
    }

    @Test func aJobPublishedTwiceIsStoredOnce() async throws {
        try await QueueFixture.withQueue { queue, _ in
            try await queue.publish(QueueFixture.job("same"))
            try await queue.publish(QueueFixture.job("same"))
            try await queue.publish(QueueFixture.job("other"))
            #expect(try await queue.backlog().pollJobs == 2)
            #expect(queue.status.counts.duplicates == 1)
        }
    }

    @Test func whatIsNotAcknowledgedComesAgain() async throws {
        try await QueueFixture.withServer { server in
            var options = server.queueOptions
            // An ack wait of one second.
            options.pollTimeout = .seconds(1) - QueueLimits.pollAckMargin
            let queue = try await NATSQueue.connect(options, logger: QueueFixture.logger)
            try await queue.publish(QueueFixture.job("lost"))
            var deliveries: [Delivery<PollJob>] = []
            let clock = ContinuousClock()
            let start = clock.now
            for await delivery in try await queue.pollJobs(
                partitions: [Partition.of(deviceID: 1)],
                maxOutstanding: 10
            ) {
                deliveries.append(delivery)
                // Extending puts the second delivery off.
                if deliveries.count == 1 {
                    try await Task.sleep(for: .milliseconds(600))
                    try await delivery.extend()
                }
                if deliveries.count == 2 { break }
            }
            #expect(deliveries.map(\.deliveryCount) == [1, 2])
            #expect(start.duration(to: clock.now) >= .milliseconds(1_500))
            #expect(queue.status.counts.redelivered == 1)
            for delivery in deliveries { try await delivery.acknowledge() }
            await queue.shutDown()
        }
    }

    @Test func aJobsFifthFailureIsBuried() async throws {
        try await QueueFixture.withQueue { queue, _ in
            try await queue.publish(QueueFixture.job("bad"))
            try await queue.publish(QueueFixture.job("worse"))
            var counts: [Int] = []
            let stream = try await queue.pollJobs(partitions: [Partition.of(deviceID: 1)], maxOutstanding: 10)
            for await delivery in stream {
                if delivery.message.jobID == "worse" {
                    try await delivery.bury("the column is full")
                } else {
                    counts.append(delivery.deliveryCount)
                    try await delivery.reject(.milliseconds(10))
                }
                if counts.count == 5 && queue.status.counts.dead == 2 { break }
            }
            #expect(counts == [1, 2, 3, 4, 5])
            let letters = try await QueueFixture.letters(queue)
            #expect(letters.map(\.messageID) == ["worse", "bad"])
            #expect(letters.map(\.reason) == ["the column is full", "rejected on delivery 5"])
            #expect(letters.map(\.deliveryCount) == [1, 5])
            #expect(
                try NMSJSON.decoder().decode(PollJob.self, from: Data(letters[1].payload.utf8))
                    == QueueFixture.job("bad")
            )
            #expect(try await SupervisionTesting.eventually { try await queue.backlog().pollJobs == 0 })
        }
    }

    @Test func whatCannotBeDecodedIsBuriedAndDoesNotStopTheRest() async throws {
        try await QueueFixture.withQueue { queue, _ in
            let subject = QueueNames.pollJobs(partition: Partition.of(deviceID: 1))
            for payload in ["not JSON", #"{"job_id":1}"#, "{}"] {
                _ = try await queue.api.publish(Data(payload.utf8), to: subject, messageID: nil)
            }
            try await queue.publish(QueueFixture.job("good"))
            for await delivery in try await queue.pollJobs(
                partitions: [Partition.of(deviceID: 1)],
                maxOutstanding: 1
            ) {
                #expect(delivery.message.jobID == "good")
                try await delivery.acknowledge()
                break
            }
            let letters = try await QueueFixture.letters(queue)
            #expect(letters.map(\.payload) == ["not JSON", #"{"job_id":1}"#, "{}"])
            #expect(letters.allSatisfy { $0.reason.hasPrefix("cannot be decoded") && $0.subject == subject })
            #expect(queue.status.counts.undecodable == 3)
            #expect(try await SupervisionTesting.eventually { try await queue.backlog().pollJobs == 0 })
        }
    }

    @Test(arguments: [3, 200]) func neverMoreUnsettledThanAllowed(maxOutstanding: Int) async throws {
        try await QueueFixture.withQueue { queue, _ in
            let count = 500
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<count {
                    group.addTask { try await queue.publish(QueueFixture.job("j\(number)", device: number)) }
                }
                try await group.waitForAll()
            }
            let stream = try await queue.pollJobs(
                partitions: Set(0..<Partition.count),
                maxOutstanding: maxOutstanding
            )
            var held: [Delivery<PollJob>] = []
            var seen: Set<String> = []
            for await delivery in stream {
                held.append(delivery)
                seen.insert(delivery.message.jobID)
                // Half of the room may be taken by requests that wait at empty partitions.
                if held.count == (maxOutstanding + 1) / 2 || seen.count == count {
                    // Time for more to come, if it were to.
                    if seen.count <= maxOutstanding { try await Task.sleep(for: .milliseconds(300)) }
                    #expect(queue.status.unsettled <= maxOutstanding)
                    for delivery in held { try await delivery.acknowledge() }
                    held = []
                }
                if seen.count == count { break }
            }
            #expect(seen.count == count)
            #expect(queue.status.counts.redelivered == 0)
        }
    }

    @Test func aRestartedServerKeepsWhatItStored() async throws {
        try await QueueFixture.withQueue { queue, server in
            let stream = try await queue.pollJobs(partitions: Set(0..<Partition.count), maxOutstanding: 200)
            try await queue.publish(QueueFixture.result("before"))
            let restarts = server.status.restarts
            try QueueFixture.killServer(of: server)
            // Published while the server is away: waits for it.
            try await queue.publish(QueueFixture.job("after", device: 5))
            #expect(server.status.restarts == restarts + 1)
            // The answer may be here before the library has told of the connection.
            #expect(
                try await SupervisionTesting.eventually { queue.status.isConnected && queue.status.reconnects == 1 }
            )
            for await delivery in stream {
                #expect(delivery.message.jobID == "after")
                try await delivery.acknowledge()
                break
            }
            for await delivery in try await queue.metricsResults(maxOutstanding: 10) {
                #expect(delivery.message.jobID == "before")
                try await delivery.acknowledge()
                break
            }
        }
    }

    @Test func unreadMessagesAreHandedBack() async throws {
        try await QueueFixture.withQueue { queue, _ in
            for number in 0..<10 { try await queue.publish(QueueFixture.result("r\(number)")) }
            do {
                let stream = try await queue.metricsResults(maxOutstanding: 10)
                var iterator = stream.makeAsyncIterator()
                try await iterator.next()?.acknowledge()
                #expect(await SupervisionTesting.eventually { queue.status.unsettled >= 4 })
            }
            let clock = ContinuousClock()
            let start = clock.now
            var seen: Set<String> = []
            for await delivery in try await queue.metricsResults(maxOutstanding: 10) {
                seen.insert(delivery.message.jobID)
                try await delivery.acknowledge()
                if seen.count == 9 { break }
            }
            #expect(start.duration(to: clock.now) < QueueLimits.resultAckWait / 2)
            #expect(queue.status.counts.handedBack >= 4)
        }
    }

    @Test func cancellationEndsTheStream() async throws {
        try await QueueFixture.withQueue { queue, _ in
            let stream = try await queue.pollJobs(partitions: [1, 2], maxOutstanding: 4)
            let task = Task {
                for await _ in stream {}
                return true
            }
            task.cancel()
            #expect(await task.value)
            await #expect(throws: CancellationError.self) {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.cancelAll()
                    group.addTask { _ = try await queue.pollJobs(partitions: [1], maxOutstanding: 4) }
                    try await group.waitForAll()
                }
            }
        }
    }

    @Test func aFullStreamRefusesWhatIsNewAndKeepsWhatItHas() async throws {
        try await QueueFixture.withQueue { queue, _ in
            var stream = try #require(queue.topology.streams.first { $0.name == QueueNames.metricsResultsStream })
            stream.maxMessages = 10
            try await queue.api.ensureStream(stream)
            let error = await #expect(throws: QueueError.self) {
                for number in 0..<50 { try await queue.publish(QueueFixture.result("r\(number)")) }
            }
            guard case .full = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(queue.status.counts.published == 10)
            #expect(queue.status.counts.publishFailures == 1)
            for await delivery in try await queue.metricsResults(maxOutstanding: 1) {
                #expect(delivery.message.jobID == "r0")
                break
            }
        }
    }

    @Test func aFullServerRefusesWhatIsNewAndKeepsWhatItHas() async throws {
        try await QueueFixture.withServer(maxFile: 100_000) { server in
            let connection = try await NATSConnection.connect(server.queueOptions, logger: QueueFixture.logger)
            let requester = try await NATSRequester.start(on: connection)
            let api = JetStreamAPI(requester: requester)
            let topology = QueueTopology(options: server.queueOptions)
            let stream = try #require(topology.streams.first { $0.name == QueueNames.metricsResultsStream })
            try await api.ensureStream(stream)
            var stored = 0
            let error = await #expect(throws: QueueError.self) {
                for number in 0..<1_000 {
                    _ = try await api.publish(
                        Data(repeating: 1, count: 1_000),
                        to: QueueNames.metricsResults,
                        messageID: "\(number)"
                    )
                    stored += 1
                }
            }
            guard case .full = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(stored > 50)
            #expect(try await api.streamState(stream.name).messages == stored)
            await connection.close()
        }
    }

    @Test func aDeletedConsumerIsMadeAgain() async throws {
        try await QueueFixture.withQueue { queue, _ in
            let stream = try await queue.metricsResults(maxOutstanding: 10)
            _ = try await queue.requester.request(
                Data(),
                to: "$JS.API.CONSUMER.DELETE.\(QueueNames.metricsResultsStream).\(QueueNames.writerConsumer)"
            )
            try await queue.publish(QueueFixture.result("still there"))
            for await delivery in stream {
                #expect(delivery.message.jobID == "still there")
                try await delivery.acknowledge()
                break
            }
        }
    }

    @Test func aWrongTokenIsRefusedAndNotShown() async throws {
        try await QueueFixture.withServer { server in
            var options = server.queueOptions
            options.token = "wrong-token"
            let error = await #expect(throws: QueueError.self) {
                try await NATSQueue.connect(options, logger: QueueFixture.logger)
            }
            #expect(error.map { "\($0)" }?.contains("wrong-token") == false)
            guard case .cannotConnect = error else {
                Issue.record("\(String(describing: error))")
                return
            }
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct EmbeddedNATSTests {
    @Test func keepsItsTokenToItself() async throws {
        let directory = try SupervisionTesting.makeDirectory()
        defer { SupervisionTesting.remove(directory) }
        try await QueueFixture.withServer(directory: directory) { server in
            let token = try #require(server.queueOptions.token)
            #expect(token.count == 64)
            #expect(SupervisionTesting.processes(containing: token).isEmpty)
            let user = try ServiceUser.forChildren(whenRoot: "postgres")
            let file = directory + "/nats/nats-server.conf"
            for (path, mode) in [(file, 0o600), (directory + "/nats", 0o700)] {
                let attributes = try FileManager.default.attributesOfItem(atPath: path)
                #expect(attributes[.posixPermissions] as? Int == mode)
                #expect(attributes[.ownerAccountName] as? String == user.name)
            }
            #expect(try String(contentsOfFile: file, encoding: .utf8).contains(token))
        }
        #expect(SupervisionTesting.processes(containing: directory).isEmpty)
    }
}
