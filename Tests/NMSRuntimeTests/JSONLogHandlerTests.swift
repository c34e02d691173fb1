import Foundation
import Logging
import NMSCore
import Testing

@testable import NMSRuntime

@Suite struct JSONLogHandlerTests {
    /// A pipe that a logger writes into.
    private final class Output {
        let reader: Int32
        let writer: Int32

        init() throws {
            var ends: [Int32] = [-1, -1]
            try #require(pipe(&ends) == 0)
            (self.reader, self.writer) = (ends[0], ends[1])
        }

        func logger(
            _ level: LogLevel = .debug,
            _ format: LogFormat = .json,
            provider: Logger.MetadataProvider? = nil
        ) -> Logger {
            let sink = LogSink(descriptor: self.writer)
            return Logger(label: "test.room") { label in
                var handler = JSONLogHandler(label: label, level: level, format: format, sink: sink) {
                    1_764_756_300_007
                }
                handler.metadataProvider = provider
                return handler
            }
        }

        /// Everything written so far; ends the output.
        func lines() -> [String] {
            close(self.writer)
            var text: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 65_536)
            while true {
                let count = read(self.reader, &buffer, buffer.count)
                guard count > 0 else { break }
                text += buffer[..<count]
            }
            close(self.reader)
            return String(decoding: text, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
                .dropLast().map(String.init)
        }

        func objects() throws -> [[String: Any]] {
            try self.lines().map { line in
                try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
            }
        }
    }

    struct Failure: Error {}

    @Test func aLineIsOneObjectWithItsFieldsInOrder() throws {
        let output = try Output()
        output.logger().info("started", metadata: ["port": "8443", "device_id": .stringConvertible(7)])
        #expect(
            output.lines() == [
                #"{"time":"2025-12-03T10:05:00.007Z","level":"info","msg":"started","logger":"test.room","#
                    + #""device_id":7,"port":"8443"}"#
            ]
        )
    }

    @Test func levelsAreTheFourOfTheSpecification() throws {
        let output = try Output()
        var logger = output.logger()
        logger.logLevel = .trace
        for level in Logger.Level.allCases { logger.log(level: level, "x") }
        let levels = try output.objects().compactMap { $0["level"] as? String }
        #expect(levels == ["debug", "debug", "info", "info", "warn", "error", "error"])
    }

    @Test func theConfiguredLevelIsTheLowest() throws {
        let output = try Output()
        let logger = output.logger(.warn)
        logger.info("no")
        logger.notice("no")
        logger.warning("yes")
        #expect(output.lines().count == 1)
    }

    @Test func everythingIsEscaped() throws {
        let output = try Output()
        let evil = "a\"b\\c\nd\re\tf\u{0}g\u{1B}[31m\u{7F}\u{85}\u{2028}\u{2029}é😀\r\n{\"level\":\"error\"}"
        output.logger().info("\(evil)", metadata: ["k\"\n": "\(evil)", "list": ["\(evil)"], "map": ["\(evil)": "v"]])
        let line = try #require(output.lines().first)
        #expect(line.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F && $0.value != 0x85 })
        let object = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        #expect(object["msg"] as? String == evil)
        #expect(object["k\"\n"] as? String == evil)
        #expect(object["list"] as? [String] == [evil])
        #expect((object["map"] as? [String: String])?[evil] == "v")
    }

    @Test func lengthsAndDepthsAreBounded() throws {
        let output = try Output()
        let long = String(repeating: "x", count: 100_000)
        var deep: Logger.MetadataValue = "leaf"
        for _ in 0..<1000 { deep = ["d": deep] }
        let many = Logger.MetadataValue.array((0..<1000).map { .string("\($0)") })
        output.logger().info("\(long)", metadata: ["long": "\(long)", "deep": deep, "many": many])
        let line = try #require(output.lines().first)
        #expect(line.utf8.count < 20_000)
        #expect((try? JSONSerialization.jsonObject(with: Data(line.utf8))) != nil)
    }

    @Test func metadataCannotShadowTheFields() throws {
        let output = try Output()
        output.logger().info("m", metadata: ["level": "error", "time": "t", "msg": "n", "logger": "l"])
        let object = try #require(try output.objects().first)
        #expect(object["level"] as? String == "info")
        #expect(object["msg"] as? String == "m")
        #expect(object["metadata.level"] as? String == "error")
    }

    @Test func metadataOfProviderLoggerAndCallAreMerged() throws {
        let output = try Output()
        let provider = Logger.MetadataProvider { ["a": "provider", "b": "provider", "c": "provider"] }
        var logger = output.logger(provider: provider)
        logger[metadataKey: "b"] = "logger"
        logger[metadataKey: "c"] = "logger"
        logger.info("m", metadata: ["c": "call"])
        let object = try #require(try output.objects().first)
        #expect(object["a"] as? String == "provider")
        #expect(object["b"] as? String == "logger")
        #expect(object["c"] as? String == "call")
    }

    @Test func numbersAndBooleansStayWhatTheyAre() throws {
        let output = try Output()
        output.logger().info(
            "m",
            metadata: [
                "i": .stringConvertible(UInt64.max), "d": .stringConvertible(0.5), "n": .stringConvertible(Double.nan),
                "b": .stringConvertible(true), "s": .stringConvertible("text" as Substring),
            ]
        )
        #expect(
            output.lines().first?.hasSuffix(#""b":true,"d":0.5,"i":18446744073709551615,"n":"nan","s":"text"}"#) == true
        )
    }

    @Test(arguments: LogFormat.allCases)
    func secretsDoNotLeak(_ format: LogFormat) throws {
        let output = try Output()
        let secret = Secret("hunter2")
        output.logger(.debug, format).error(
            "failed for \(secret) at \(ServiceURL("nats://u:hunter2@h"))",
            metadata: [
                "value": .stringConvertible(secret), "text": "\(secret)", "password": "hunter2",
                "Authorization": "Bearer hunter2", "refresh_token": ["hunter2"], "bytes": "\(SecretBytes([1, 2]))",
                "nested": ["db_password": "hunter2"],
            ]
        )
        let line = try #require(output.lines().first)
        #expect(!line.contains("hunter2"))
        #expect(line.contains("***"))
    }

    @Test func errorsAreWritten() throws {
        let output = try Output()
        output.logger().error("m", error: Failure())
        #expect(try output.objects().first?["error"] as? String == "Failure()")
    }

    @Test func textIsOneLineToo() throws {
        let output = try Output()
        output.logger(.debug, .text).warning("two\nlines", metadata: ["k": "v w"])
        #expect(output.lines() == [#"2025-12-03T10:05:00.007Z WARN test.room: two\nlines k="v w""#])
    }

    @Test func linesOfManyThreadsStayWhole() async throws {
        let temporary = try TemporaryDirectory()
        let path = temporary.path + "/log"
        let sink = try LogSink(.file(path))
        let text = String(repeating: "y", count: 3000)
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    let handler = JSONLogHandler(label: "\(task)", level: .debug, format: .json, sink: sink)
                    let logger = Logger(label: "\(task)") { _ in handler }
                    for _ in 0..<50 { logger.info("\(text)") }
                }
            }
        }
        let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
        #expect(lines.count == 400)
        #expect(lines.allSatisfy { (try? JSONSerialization.jsonObject(with: Data($0.utf8))) != nil })
        #expect(try TemporaryDirectory.mode(of: path) == 0o600)
    }

    @Test func aReaderThatIsGoneLosesLinesNotTheProcess() throws {
        // As LogSetup does.
        signal(SIGPIPE, SIG_IGN)
        let output = try Output()
        close(output.reader)
        let logger = output.logger()
        logger.info("into the void")
        logger.info("again")
        close(output.writer)
    }

    @Test func aLogFileThatCannotBeOpenedSaysSo() throws {
        let error = try #require(throws: StartError.self) { try LogSink(.file("/nonexistent/log")) }
        #expect(error.path == "/nonexistent/log")
    }

    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] as [(Int64, String)]
    )
    func timesAreRFC3339(_ milliseconds: Int64, _ text: String) {
        #expect(RFC3339.string(millisecondsSince1970: milliseconds) == text)
    }
}
