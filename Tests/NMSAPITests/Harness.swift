import Bcrypt
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import NIOCore
import NMSCore
import NMSStorage
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Synchronization

@testable import NMSAPI

/// The whole API over a database of its own, with publishers that remember and clocks that are moved by hand.
struct Harness: Sendable {
    static let adminPassword = "correct horse battery"
    static let jwtSecret = Secret("0123456789abcdef0123456789abcdef")

    let database: TestDatabase
    let dependencies: APIDependencies
    let jobs = Recorder<PollJob>()
    let discoveryJobs = Recorder<QueuedDiscovery>()
    let events = Recorder<DeviceEvent>()
    let source = EventSource()
    let diagnosis = ScriptedDiagnosis()
    let clock = TestClock()
    let log = LogRecorder()

    /// Tests run side by side; more than a few databases at once only slow each other down.
    private static let turnstile = Turnstile(places: 4)

    private static let template = TestDatabase.Template(name: "nmslite_api") { pool in
        try await Migrator(pool.configuration).up()
        // For rows of any month.
        try await pool.query("CREATE TABLE metrics_of_tests PARTITION OF metrics DEFAULT")
    }

    private init(database: TestDatabase, health: [HealthComponent], targets: TargetPolicy) throws {
        self.database = database
        let key = try required(MasterKey(bytes: Array(repeating: 7, count: 32)))
        let log = self.log
        let clock = self.clock
        self.dependencies = APIDependencies(
            users: UserRepository(pool: database.pool),
            sessions: SessionRepository(pool: database.pool),
            credentials: CredentialRepository(pool: database.pool, cipher: CredentialCipher(key: key)),
            devices: DeviceRepository(pool: database.pool),
            metrics: MetricsRepository(pool: database.pool),
            audit: AuditRepository(pool: database.pool),
            discoveries: DiscoveryRepository(pool: database.pool),
            hasher: try PasswordHasher(cost: 4),
            jobs: self.jobs,
            discoveryJobs: self.discoveryJobs,
            discoveryTargets: BlockTargets(policy: targets),
            events: self.events,
            eventSource: self.source,
            targets: targets,
            diagnosis: self.diagnosis,
            health: health,
            clocks: APIClocks(wall: { clock.wall }, monotonic: { clock.monotonic }),
            logger: Logger(label: "test") { _ in RecordingLogHandler(recorder: log) }
        )
    }

    /// Runs `body` with the API, called through its router or over a real connection, and one user of each role (`admin`, `operator`, `viewer`,
    /// all with ``adminPassword``).
    static func with(
        health: [HealthComponent] = [],
        targets: TargetPolicy = TargetPolicy(),
        through setup: TestingSetup = .router,
        configure: (inout APIConfiguration) -> Void = { _ in },
        _ body: @Sendable (Harness, API) async throws -> Void
    ) async throws {
        await Self.turnstile.enter()
        defer { Self.turnstile.leave() }
        let database = try await TestDatabase.make(Self.template)
        let harness = try Harness(database: database, health: health, targets: targets)
        var configuration = APIConfiguration(jwtSecret: Self.jwtSecret)
        configure(&configuration)
        let hash = try await harness.dependencies.hasher.hash(Self.adminPassword)
        for role in Role.allCases {
            _ = try await harness.dependencies.users.create(username: role.rawValue, passwordHash: hash, role: role)
        }
        let application = try await buildApplication(
            dependencies: harness.dependencies,
            configuration: configuration
        )
        do {
            try await application.test(setup) { client in
                // Caches are emptied at the subscription: not in the middle of a test.
                try await eventually { harness.source.isSubscribed }
                try await body(harness, API(client: client))
            }
        } catch {
            await database.close()
            throw error
        }
        await database.close()
    }

    /// Stores a row as the storage writer does.
    func storeRow(deviceID: Int, at time: Date, cpu: Double = 45.5, jobID: String = UUID().uuidString) async throws {
        try await self.database.pool.query(
            """
            INSERT INTO metrics (device_id, timestamp, cpu_usage_percent, memory_total_bytes, memory_used_bytes,
                memory_usage_percent, disk_total_bytes, disk_used_bytes, disk_usage_percent, net_bytes_sent_per_sec,
                net_bytes_recv_per_sec, net_utilization_percent, net_packets_sent, net_packets_recv, net_errors,
                net_dropped, process_count, collection_duration_ms, job_id)
            VALUES ($1, $2, $3, 17179869184, 8589934592, 50.0, 500107862016, 250053931008, 50.0, 1048576, 2097152,
                25.0, 1000000, 2000000, 0, 5, 142, 830, $4::uuid)
            """,
            [deviceID, time, cpu, jobID]
        )
    }
}

func required<Value>(_ value: Value?) throws -> Value {
    guard let value else { throw HarnessError.missing }
    return value
}

enum HarnessError: Error { case missing }

/// Calls the API as a client would.
struct API: Sendable {
    let client: any TestClientProtocol
    var token: String?

    func call(
        _ method: HTTPRequest.Method,
        _ path: String,
        _ body: String? = nil,
        headers: [String: String] = [:]
    ) async throws -> Reply {
        var fields = HTTPFields()
        if body != nil { fields[.contentType] = "application/json" }
        if let token = self.token { fields[.authorization] = "Bearer \(token)" }
        for (name, value) in headers {
            if let name = HTTPField.Name(name) { fields[name] = value.isEmpty ? nil : value }
        }
        let base = path.hasPrefix("//") ? String(path.dropFirst()) : "/api/v1\(path)"
        let response = try await self.client.executeRequest(
            uri: base,
            method: method,
            headers: fields,
            body: body.map { ByteBuffer(string: $0) }
        )
        let reply = Reply(response)
        OpenAPIConformance.check(method, base, reply)
        return reply
    }

    func get(_ path: String) async throws -> Reply { try await self.call(.get, path) }
    func post(_ path: String, _ body: String? = nil) async throws -> Reply { try await self.call(.post, path, body) }
    func put(_ path: String, _ body: String) async throws -> Reply { try await self.call(.put, path, body) }
    func delete(_ path: String) async throws -> Reply { try await self.call(.delete, path) }

    /// The same client, signed in.
    func signedIn(as user: String = "admin", password: String = Harness.adminPassword) async throws -> API {
        let reply = try await self.post("/auth/login", #"{"username":"\#(user)","password":"\#(password)"}"#)
        var copy = self
        copy.token = try reply.data["access_token"].text
        return copy
    }

    /// Makes a credential and returns its id.
    func makeCredential(_ name: String = "c", more: String = "") async throws -> Int {
        let body = #"""
            {"name":"\#(name)","credential_type":"winrm_ntlm","username":"administrator","password":"P@ssw0rd123"\#(more)}
            """#
        return try await self.post("/credentials", body).data["id"].number
    }

    func makeDevice(_ ip: String = "192.0.2.1") async throws -> Int {
        try await self.post("/devices", #"{"ip":"\#(ip)"}"#).data["id"].number
    }
}

/// An answer, with its envelope.
struct Reply: Sendable {
    let status: Int
    let headers: HTTPFields
    let text: String
    let json: JSONValue

    init(_ response: TestResponse) {
        self.status = response.status.code
        self.headers = response.headers
        self.text = String(buffer: response.body)
        self.json = (try? JSONParser.parse(Array(response.body.readableBytesView))) ?? .null
    }

    var data: JSONValue { self.json["data"] }
    var code: String { (try? self.json["error"]["code"].text) ?? "" }
    var message: String { (try? self.json["error"]["message"].text) ?? "" }
    var details: JSONValue { self.json["error"]["details"] }
    func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { self.headers[$0] } }
}

extension JSONValue {
    static func parse(_ text: String) throws -> JSONValue { try JSONParser.parse(Array(text.utf8)) }

    subscript(_ name: String) -> JSONValue {
        guard case .object(let members) = self else { return .null }
        return members[name] ?? .null
    }

    subscript(_ index: Int) -> JSONValue {
        guard case .array(let elements) = self, elements.indices.contains(index) else { return .null }
        return elements[index]
    }

    var text: String {
        get throws {
            guard case .string(let text) = self else { throw HarnessError.missing }
            return text
        }
    }

    var number: Int {
        get throws {
            guard case .integer(let number) = self else { throw HarnessError.missing }
            return number
        }
    }

    var names: Set<String> {
        guard case .object(let members) = self else { return [] }
        return Set(members.keys)
    }

    var count: Int {
        guard case .array(let elements) = self else { return 0 }
        return elements.count
    }

    /// Without members that a test can't foresee.
    func without(_ names: String...) -> JSONValue {
        guard case .object(let members) = self else { return self }
        return .object(members.filter { !names.contains($0.key) })
    }
}

/// Remembers what was published; can be told to fail.
final class Recorder<Message: Sendable>: Sendable {
    private let state = Mutex<(messages: [Message], isBroken: Bool)>(([], false))

    var all: [Message] { self.state.withLock { $0.messages } }

    func setBroken(_ isBroken: Bool) { self.state.withLock { $0.isBroken = isBroken } }

    func record(_ message: Message) throws {
        try self.state.withLock { state in
            if state.isBroken { throw HarnessError.missing }
            state.messages.append(message)
        }
    }
}

extension Recorder: PollJobPublisher where Message == PollJob {
    func publish(_ job: PollJob) async throws { try self.record(job) }
}

extension Recorder: DiscoveryJobPublisher where Message == QueuedDiscovery {
    func publish(_ job: QueuedDiscovery) async throws { try self.record(job) }
}

extension Recorder: DeviceEventPublisher where Message == DeviceEvent {
    func publish(_ event: DeviceEvent) async throws { try self.record(event) }
}

/// Events of another instance.
final class EventSource: DeviceEventSource {
    private let stream: AsyncStream<DeviceEvent>
    private let continuation: AsyncStream<DeviceEvent>.Continuation
    private let subscribed = Atomic(false)

    init() { (self.stream, self.continuation) = AsyncStream.makeStream() }

    var isSubscribed: Bool { self.subscribed.load(ordering: .relaxed) }

    func deviceEvents() async throws -> AsyncStream<DeviceEvent> {
        self.subscribed.store(true, ordering: .relaxed)
        return self.stream
    }

    func send(_ event: DeviceEvent) { self.continuation.yield(event) }
}

/// Stands still until it is moved.
final class TestClock: Sendable {
    private let state = Mutex((wall: Date(), monotonic: ContinuousClock.now))

    var wall: Date { self.state.withLock { $0.wall } }
    var monotonic: ContinuousClock.Instant { self.state.withLock { $0.monotonic } }

    func advance(by seconds: Int) {
        self.state.withLock { state in
            state.wall += Double(seconds)
            state.monotonic = state.monotonic + .seconds(seconds)
        }
    }
}

/// Every log line with its metadata.
final class LogRecorder: Sendable {
    private let lines = Mutex<[String]>([])

    var all: [String] { self.lines.withLock { $0 } }
    func add(_ line: String) { self.lines.withLock { $0.append(line) } }
}

struct RecordingLogHandler: LogHandler {
    let recorder: LogRecorder
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .trace

    init(recorder: LogRecorder) { self.recorder = recorder }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let metadata = self.metadata.merging(event.metadata ?? [:]) { $1 }
        let fields = metadata.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
        self.recorder.add("\(event.level) \(event.message) \(fields)")
    }
}

/// Lets a few in at a time, in order.
final class Turnstile: Sendable {
    private let state: Mutex<(free: Int, waiting: [CheckedContinuation<Void, Never>])>

    init(places: Int) { self.state = Mutex((places, [])) }

    func enter() async {
        await withCheckedContinuation { continuation in
            let entered = self.state.withLock { state in
                guard state.free > 0 else {
                    state.waiting.append(continuation)
                    return false
                }
                state.free -= 1
                return true
            }
            if entered { continuation.resume() }
        }
    }

    func leave() {
        let next = self.state.withLock { state in
            guard state.waiting.isEmpty else { return Optional(state.waiting.removeFirst()) }
            state.free += 1
            return nil
        }
        next?.resume()
    }
}
