import Foundation
import NMSCore
import Synchronization
import Testing

@testable import NMSCollectors

/// A row with what a query of any group needs.
private struct ScriptedRow: WMIInstance {
    var isEmpty = false

    func string(_ property: String) -> String? {
        if self.isEmpty { return nil }
        return property == "Name" ? "_Total" : property
    }

    func unsigned(_ property: String) -> UInt64? { self.isEmpty ? nil : 1 }
    func boolean(_ property: String) -> Bool? { false }
    func dateTime(_ property: String) -> Date? { nil }
}

private final class ScriptedConnection: WindowsConnection {
    private let state = Mutex((isOpen: true, closed: 0))

    var isOpen: Bool { self.state.withLock { $0.isOpen } }
    var timesClosed: Int { self.state.withLock { $0.closed } }
    func drop() { self.state.withLock { $0.isOpen = false } }

    func close() async {
        self.state.withLock { state in
            state.isOpen = false
            state.closed += 1
        }
    }
}

/// A way to a host on which every step does what the test says.
private final class ScriptedCollector: DiagnosableCollector {
    typealias Failure = TransportFailure

    enum Step: Hashable {
        case open, certificate, connect, identify, prepare, signIn, finish, namespace
        case rows(String)
    }

    struct Script: Sendable {
        var failures: [Step: TransportFailure] = [:]
        /// These fail once only.
        var hiccups: [Step: TransportFailure] = [:]
        var refusal: PollFailure?
        var certificate: CertificateFacts?
        var clock: Date?
        var dropsAfterIdentify = false
        var stallsAt: Step?
        var emptyClass: String?
    }

    struct State {
        var script: Script
        var steps: [Step] = []
        var connections: [ScriptedConnection] = []
        var inspectionsOpen = 0
    }

    let name = "scripted"
    let limits = WindowsCollectorLimits()
    let sessions = WarmSessions<ScriptedConnection>(budget: IdleConnectionBudget(limit: 0))
    let hasExporter: Bool
    private let state: Mutex<State>

    init(_ script: Script = Script(), hasExporter: Bool = false) {
        self.hasExporter = hasExporter
        self.state = Mutex(State(script: script))
    }

    var steps: [Step] { self.state.withLock { $0.steps } }
    var connections: [ScriptedConnection] { self.state.withLock { $0.connections } }
    var inspectionsOpen: Int { self.state.withLock { $0.inspectionsOpen } }

    private func take(_ step: Step) async throws(TransportFailure) -> Script {
        let (script, hiccup) = self.state.withLock { state in
            state.steps.append(step)
            return (state.script, state.script.hiccups.removeValue(forKey: step))
        }
        if script.stallsAt == step {
            do { try await Task.sleep(for: .seconds(60)) } catch {
                throw TransportFailure(PollFailure(.protocolError, "cancelled"), isCancellation: true)
            }
        }
        if let failure = hiccup ?? script.failures[step] { throw failure }
        return script
    }

    func supports(_ type: CredentialType) -> Bool { true }
    func endpointSummary(_ target: CollectorTarget) -> String { "scripted" }
    func transportFailure(_ error: TransportFailure, at target: CollectorTarget) -> TransportFailure { error }
    func reason(of error: TransportFailure) -> DiagnosisReason? { nil }

    func openInspection(
        of target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(TransportFailure) -> Int? {
        guard try await self.take(.open).certificate != nil else { return nil }
        self.state.withLock { $0.inspectionsOpen += 1 }
        return 1
    }

    func certificate(
        over inspection: Int,
        deadline: ContinuousClock.Instant
    ) async throws(TransportFailure) -> CertificateFacts {
        guard let facts = try await self.take(.certificate).certificate else {
            throw TransportFailure(PollFailure(.tlsFailed, "no certificate"))
        }
        return facts
    }

    func close(_ inspection: Int) async { self.state.withLock { $0.inspectionsOpen -= 1 } }

    func connect(
        to target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(TransportFailure) -> ScriptedConnection {
        _ = try await self.take(.connect)
        let connection = ScriptedConnection()
        self.state.withLock { $0.connections.append(connection) }
        return connection
    }

    func identify(
        _ target: CollectorTarget,
        over connection: ScriptedConnection,
        deadline: ContinuousClock.Instant
    ) async throws(TransportFailure) -> HostIdentification {
        let script = try await self.take(.identify)
        if script.dropsAfterIdentify { connection.drop() }
        return HostIdentification(
            facts: [DiagnosisFact("server", "scripted")],
            refusal: script.refusal,
            clock: script.clock
        )
    }

    func challenge(over connection: ScriptedConnection) async -> HostIdentification { HostIdentification(facts: []) }

    func prepareSignIn(
        over connection: ScriptedConnection,
        to target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(TransportFailure) { _ = try await self.take(.prepare) }

    func signIn(
        over connection: ScriptedConnection,
        to target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(TransportFailure) { _ = try await self.take(.signIn) }

    func finishSignIn(
        over connection: ScriptedConnection,
        to target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(TransportFailure) { _ = try await self.take(.finish) }

    func openNamespace(
        over connection: ScriptedConnection,
        deadline: ContinuousClock.Instant
    ) async throws(TransportFailure) { _ = try await self.take(.namespace) }

    func rows(
        of wql: String,
        over connection: ScriptedConnection,
        deadline: ContinuousClock.Instant
    ) async throws(TransportFailure) -> [ScriptedRow] {
        let name = WindowsQueries.className(of: wql)
        let script = try await self.take(.rows(name))
        return [ScriptedRow(isEmpty: script.emptyClass == name)]
    }
}

/// Lets nobody through, as when others with the credential never come back.
private struct StuckGate: AuthenticationGate {
    func authenticate<Result: Sendable>(
        deviceID: Int,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result {
        try await Task.sleep(for: .seconds(60))
        return try await attempt()
    }
}

@Suite(.timeLimit(.minutes(1))) struct DiagnosisRunTests {
    private static let disk = "Win32_LogicalDisk"

    private static func failure(
        _ code: PollErrorCode,
        isLogin: Bool = false,
        reconnect: Bool = false
    ) -> TransportFailure {
        TransportFailure(PollFailure(code, "scripted"), countsAsFailedLogin: isLogin, suggestsReconnect: reconnect)
    }

    private func diagnose(
        _ collector: ScriptedCollector,
        gate: any AuthenticationGate = CountingGate(),
        limits: DiagnosisLimits = DiagnosisLimits(),
        useSSL: Bool = false
    ) async throws -> DiagnosisReport {
        let credential = Credential(
            id: 1,
            name: "c",
            type: .winrmNTLM,
            username: "monitor",
            useSSL: useSSL,
            createdAt: Date(timeIntervalSince1970: 0),
            updatedAt: Date(timeIntervalSince1970: 0)
        )
        let request = DiagnosisRequest(
            deviceID: 1,
            address: try #require(IPAddress("192.0.2.1")),
            hostname: nil,
            credential: DecryptedCredential(credential: credential, password: Secret("x"))
        )
        let collectors = CollectorRegistry([collector])
        return try await WindowsDiagnosis(collectors: collectors, gate: gate, limits: limits).diagnose(request)
    }

    private static func expectClosed(_ collector: ScriptedCollector) {
        #expect(collector.connections.allSatisfy { $0.timesClosed == 1 })
        #expect(collector.inspectionsOpen == 0)
    }

    /// Whichever step fails, its stage says so, the rest is skipped, and everything is closed.
    @Test(arguments: [
        (ScriptedCollector.Step.open, DiagnosisStage.Kind.tcp), (.certificate, .tls), (.connect, .tls),
        (.identify, .identify), (.prepare, .authenticate), (.signIn, .authenticate), (.finish, .exporter),
        (.namespace, .namespace),
    ])
    fileprivate func aFailedStepEndsTheWalk(step: ScriptedCollector.Step, kind: DiagnosisStage.Kind) async throws {
        let script = ScriptedCollector.Script(
            failures: [step: Self.failure(.accessDenied)],
            certificate: Self.certificate(days: 100)
        )
        let collector = ScriptedCollector(script, hasExporter: true)
        let report = try await self.diagnose(collector, useSSL: true)
        let index = try #require(report.stages.firstIndex { $0.result == .failed })
        #expect(report.stages[index].kind == kind && report.stages[index].cause?.code == .accessDenied)
        #expect(report.stages[index].remedy != nil && !report.isOK)
        #expect(report.stages[..<index].allSatisfy { $0.result == .passed })
        #expect(report.stages[(index + 1)...].allSatisfy { $0 == DiagnosisStage($0.kind, target: $0.target) })
        #expect(collector.steps.last == step)
        Self.expectClosed(collector)
    }

    @Test func aClassThatFailsOrIsEmptyLeavesTheOthers() async throws {
        for script in [
            ScriptedCollector.Script(failures: [.rows(Self.disk): Self.failure(.countersMissing)]),
            ScriptedCollector.Script(emptyClass: Self.disk),
        ] {
            let collector = ScriptedCollector(script)
            let report = try await self.diagnose(collector)
            let failed = report.stages.filter { $0.result != .passed }
            #expect(failed.map(\.target) == [Self.disk] && failed.first?.cause?.code == .countersMissing)
            #expect(failed.first?.remedy?.contains(Self.disk) == true)
            Self.expectClosed(collector)
        }
    }

    /// A host that is silent towards strangers is no worse for it.
    @Test func aRefusedIdentificationIsAWarning() async throws {
        let script = ScriptedCollector.Script(refusal: PollFailure(.accessDenied, "HTTP status 401"))
        let report = try await self.diagnose(ScriptedCollector(script))
        let warnings = report.stages.filter { $0.result != .passed }
        #expect(warnings.map(\.kind) == [.identify] && warnings.first?.result == .warning && report.isOK)
        #expect(warnings.first?.cause == DiagnosisStage.Cause(code: .accessDenied, message: "HTTP status 401"))
    }

    @Test func aConnectionThatEndsWithTheQuestionIsReplaced() async throws {
        let collector = ScriptedCollector(ScriptedCollector.Script(dropsAfterIdentify: true))
        #expect(try await self.diagnose(collector).isOK)
        #expect(collector.connections.count == 2)
        Self.expectClosed(collector)
    }

    /// As a poll does, once.
    @Test func aConnectionThatTheHostLetGoOfIsReplacedOnce() async throws {
        let gone = Self.failure(.connectionReset, reconnect: true)
        let gate = CountingGate()
        let once = ScriptedCollector(ScriptedCollector.Script(hiccups: [.rows(Self.disk): gone, .namespace: gone]))
        let report = try await self.diagnose(once, gate: gate)
        #expect(report.stages.filter { $0.result == .failed }.map(\.target) == [Self.disk])
        #expect(report.stages.first { $0.kind == .namespace }?.facts.map(\.name) == ["reconnected"])
        #expect(gate.attempts == 2 && once.connections.count == 2)
        Self.expectClosed(once)
    }

    /// Basic carries the password in every request: a login that fails late is counted, and is the last.
    @Test func aLateFailedLoginCountsOnce() async throws {
        let gate = CountingGate()
        let script = ScriptedCollector.Script(failures: [.rows(Self.disk): Self.failure(.authFailed, isLogin: true)])
        let collector = ScriptedCollector(script)
        let report = try await self.diagnose(collector, gate: gate)
        #expect(gate.failures == 1)
        #expect(collector.steps.last == .rows(Self.disk))
        #expect(report.stages.filter { $0.result == .failed }.map(\.cause?.code) == [.authFailed])
        #expect(
            report.stages.filter { $0.kind == .class }.map(\.result) == [
                .passed, .failed, .skipped, .skipped, .skipped,
            ]
        )
        Self.expectClosed(collector)
    }

    // MARK: - Warnings

    private static func certificate(days: Double) -> CertificateFacts {
        CertificateFacts(
            subject: "CN=srv01",
            issuer: "CN=ca",
            names: ["srv01"],
            notBefore: Date(timeIntervalSince1970: 0),
            notAfter: Date(timeIntervalSinceNow: days * 86_400),
            isSelfSigned: false,
            fingerprint: "00"
        )
    }

    @Test(arguments: [(3.0, DiagnosisStage.Result.warning), (30, .passed)])
    func aCertificateThatEndsSoonIsAWarning(days: Double, result: DiagnosisStage.Result) async throws {
        let collector = ScriptedCollector(ScriptedCollector.Script(certificate: Self.certificate(days: days)))
        let report = try await self.diagnose(collector, useSSL: true)
        let tls = try #require(report.stages.first { $0.kind == .tls })
        #expect(tls.result == result && (tls.remedy != nil) == (result == .warning) && report.isOK)
    }

    @Test(arguments: [(-301.0, true), (-200, false), (200, false), (310, true), (1e12, true), (-1e12, true)])
    func aClockThatIsOffIsAWarning(seconds: Double, isWarning: Bool) async throws {
        let script = ScriptedCollector.Script(clock: Date(timeIntervalSinceNow: seconds))
        let report = try await self.diagnose(ScriptedCollector(script))
        let identify = try #require(report.stages.first { $0.kind == .identify })
        #expect((identify.result == .warning) == isWarning && (identify.remedy == Remedies.clock) == isWarning)
    }

    // MARK: - Time

    private static var short: DiagnosisLimits {
        var limits = DiagnosisLimits()
        limits.total = .milliseconds(600)
        limits.closing = .milliseconds(400)
        return limits
    }

    /// Waiting for other sign-ins with the credential counts as well.
    @Test func aStuckGateEndsWithTheTime() async throws {
        let collector = ScriptedCollector()
        let began = ContinuousClock.now
        let report = try await self.diagnose(collector, gate: StuckGate(), limits: Self.short)
        #expect(.now - began < .seconds(30))
        let failed = try #require(report.stages.first { $0.result == .failed })
        #expect(failed.kind == .authenticate && failed.cause?.code == .timeout && failed.remedy != nil)
        #expect(report.stages.last?.result == .skipped)
        Self.expectClosed(collector)
    }

    @Test(arguments: [ScriptedCollector.Step.connect, .identify, .prepare, .signIn, .namespace, .rows(Self.disk)])
    fileprivate func aCancelledWalkClosesWhatItOpened(step: ScriptedCollector.Step) async throws {
        let collector = ScriptedCollector(ScriptedCollector.Script(stallsAt: step))
        let task = Task { try await self.diagnose(collector) }
        while collector.steps.last != step { await Task.yield() }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        Self.expectClosed(collector)
    }
}
