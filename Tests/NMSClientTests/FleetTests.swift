import Foundation
import Testing

@testable import NMSClient

@Suite struct FleetTests {
    private static let now = Date(timeIntervalSince1970: 1_800_000_000)

    private static func device(
        _ id: Int,
        status: String = "monitoring",
        cpu: Double? = nil,
        error: String? = nil,
        name: String? = nil
    ) throws -> DeviceRecord {
        let metrics =
            cpu.map { value in
                """
                {"timestamp":"2027-01-15T07:59:50.000Z","cpu":{"usage_percent":\(value)},
                 "memory":{"total_bytes":8589934592,"used_bytes":4294967296,"usage_percent":50.0},
                 "disk":{"total_bytes":null,"used_bytes":null,"usage_percent":null},
                 "network":{"bytes_sent_per_sec":1000,"bytes_recv_per_sec":2000000,"utilization_percent":1.5,
                            "packets_sent":1,"packets_recv":2,"errors":0,"dropped":0},
                 "process_count":142,"collection_duration_ms":12,"job_id":null,"device_id":\(id)}
                """
            } ?? "null"
        let failure =
            error.map { #"{"code":"\#($0)","message":"it","at":"2027-01-15T07:00:00.000Z"}"# } ?? "null"
        let json = """
            {"id":\(id),"ip":"10.0.0.\(id)","hostname":"\(name ?? "host-\(id)")","os":"Windows Server 2022",
             "status":"\(status)","polling_interval":60,"last_seen":"2027-01-15T07:59:50.000Z","last_error":\(failure),
             "credential_ids":[1],"created_at":"2027-01-01T00:00:00.000Z","updated_at":"2027-01-01T00:00:00.000Z",
             "metrics":\(metrics),"of_a_newer_server":1}
            """
        return try APIClient.decode(DeviceRecord.self, Data(json.utf8))
    }

    private static func view(_ devices: [DeviceRecord]) -> FleetView {
        var view = FleetView(title: "nmslite")
        view.devices = devices
        view.fetchedAt = Self.now
        return view
    }

    @Test func theBusiestComeFirstAndTheUnknownLast() throws {
        let devices = [try Self.device(1, cpu: 5), try Self.device(2), try Self.device(3, cpu: 99)]
        var view = Self.view(devices)
        func ids() -> [String] {
            view.screen(.plain, width: 160, height: 24, now: Self.now).compactMap { line in
                line.split(separator: " ").first.flatMap { Int($0) }.map(String.init)
            }
        }
        #expect(ids() == ["3", "1", "2"])
        view.isReversed = true
        #expect(ids() == ["2", "1", "3"])
        view.isReversed = false
        view.sort = .name
        #expect(ids() == ["1", "2", "3"])
    }

    @Test(arguments: [80, 160], [5, 24, 60])
    func aScreenFitsItsTerminal(width: Int, height: Int) throws {
        let devices = try (1...5000).map { id in
            try Self.device(id, cpu: Double(id % 100), error: id % 7 == 0 ? "auth_failed" : nil, name: "サーバー-\(id)")
        }
        let style = TextStyler(hasColor: false, isUnicode: true)
        let lines = Self.view(devices).screen(style, width: width, height: height, now: Self.now)
        #expect(lines.count == height)
        for line in lines { #expect(PrintableText.width(line) <= width, "\(line)") }
        #expect(lines[0].contains("5000 devices"))
    }

    @Test func scrollingStaysWithinTheList() throws {
        var view = Self.view(try (1...30).map { try Self.device($0, cpu: 1) })
        view.scroll(by: 1000, height: 15)
        #expect(view.offset == 20)
        view.scroll(by: -1000, height: 15)
        #expect(view.offset == 0)
        let screen = view.screen(.plain, width: 100, height: 15, now: Self.now)
        #expect(screen.last?.hasPrefix("1-10 of 30") == true)
    }

    @Test func aServerThatIsAwayIsSaidWithTheAgeOfWhatIsShown() throws {
        var view = Self.view([try Self.device(1, cpu: 1)])
        view.problem = "no answer\u{1B}[2J"
        let screen = view.screen(.plain, width: 100, height: 10, now: Self.now.addingTimeInterval(40))
        #expect(screen[2] == "as of 40s ago: no answer[2J")
    }

    @Test func changesBetweenTwoLooksAreEvents() throws {
        let before = [
            try Self.device(1), try Self.device(2, error: "timeout"), try Self.device(3), try Self.device(4),
            try Self.device(5, error: "timeout"),
        ]
        let after = [
            try Self.device(1, status: "unreachable", error: "connection_refused"), try Self.device(2),
            try Self.device(3, error: "auth_failed"), try Self.device(5, error: "timeout"),
            try Self.device(6, status: "discovered"),
        ]
        let known = Dictionary(uniqueKeysWithValues: before.map { ($0.id, $0) })
        let events = FleetEvent.between(known, after, at: Self.now)
        #expect(events.map(\.kind) == [.status, .recovered, .error, .added, .removed])
        #expect(events.map(\.deviceID) == [1, 2, 3, 6, 4])
        #expect(
            events[0].line(.plain)
                == "2027-01-15T08:00:00.000Z  host-1 (10.0.0.1), device 1: monitoring -> unreachable  connection_refused: it"
        )
        #expect(FleetEvent.between(known, before, at: Self.now).isEmpty)
    }

    @Test func keysOfATerminalAreRead() {
        let pressed = LiveScreen.keys(in: Array("q\u{1B}[A\u{1B}[6~m".utf8))
        #expect(pressed == [.character("q"), .up, .pageDown, .character("m")])
        #expect(LiveScreen.keys(in: [0x1B]).isEmpty)
        #expect(LiveScreen.keys(in: Array("\u{1B}[999;999".utf8)).isEmpty)
        #expect(LiveScreen.keys(in: [0xFF, 0x00, 0x7F]).isEmpty)
    }
}

@Suite struct SessionStoreTests {
    private static func folder() throws -> String {
        let folder = NSTemporaryDirectory() + "nmslite-session-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        return folder
    }

    private static let session = Session(
        server: "https://localhost:8443",
        username: "anna",
        trust: .fingerprint("AA:BB"),
        tokens: TokenPair(accessToken: "a", refreshToken: "r", expiresAt: Date(timeIntervalSince1970: 1_800_000_000))
    )

    @Test func aSessionIsForItsUserAlone() async throws {
        let folder = try Self.folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = SessionStore(file: folder + "/deep/er/session.json")
        #expect(try store.load() == nil)
        try await store.withLock { try store.save(Self.session) }
        #expect(try store.load() == Self.session)
        let mode = try FileManager.default.attributesOfItem(atPath: store.file)[.posixPermissions] as? Int
        #expect(mode == 0o600)
        chmod(store.file, 0o640)
        #expect(throws: CommandError.self) { try store.load() }
        #expect(store.remove())
        #expect(try store.load() == nil)
    }

    @Test func aLinkOrAnythingElseIsNoSession() throws {
        let folder = try Self.folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = SessionStore(file: folder + "/session.json")
        try Data("{}".utf8).write(to: URL(fileURLWithPath: store.file))
        chmod(store.file, 0o600)
        #expect(throws: CommandError.self) { try store.load() }
        unlink(store.file)
        symlink("/dev/null", store.file)
        #expect(throws: CommandError.self) { try store.load() }
    }

    @Test func tokensAreRenewedOneCommandAtATime() async throws {
        let folder = try Self.folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = SessionStore(file: folder + "/session.json")
        let inside = Counter()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    try await store.withLock {
                        #expect(await inside.enter() == 1)
                        try await Task.sleep(for: .milliseconds(5))
                        await inside.leave()
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    private actor Counter {
        private var count = 0
        func enter() -> Int {
            self.count += 1
            return self.count
        }
        func leave() { self.count -= 1 }
    }
}
