internal import Foundation
internal import NMSCore
internal import Synchronization

/// One diagnosis: the steps of a poll one by one, over a connection of its own, with each one's result recorded.
actor DiagnosisRun<Source: DiagnosableCollector> {
    /// A stage has failed and is recorded; what follows is skipped.
    private struct Ended: Error {}

    /// What went wrong in a step.
    private struct StepFailure: Error {
        var transport: TransportFailure
        var reason: DiagnosisReason?
    }

    /// A class to ask for, and what its rows must bring.
    private struct ClassQuery {
        var wql: String
        /// nil for the host's name, without which a poll is complete.
        var group: CounterGroup?

        var name: String { WindowsQueries.className(of: self.wql) }
    }

    private static var queries: [ClassQuery] {
        WindowsQueries.order.map { ClassQuery(wql: WindowsQueries.wql($0), group: $0) }
            + [ClassQuery(wql: WindowsQueries.computerSystem, group: nil)]
    }

    private let collector: Source
    private let target: CollectorTarget
    private let limits: DiagnosisLimits
    private let recorder: DiagnosisRecorder
    private var connection: Source.Connection?
    private var certificate: CertificateFacts?
    private var hasReconnected = false

    /// - Parameter target: its deadline is when the last step must be over; closing comes on top.
    init(collector: Source, target: CollectorTarget, limits: DiagnosisLimits, recorder: DiagnosisRecorder) {
        self.collector = collector
        self.target = target
        self.limits = limits
        self.recorder = recorder
    }

    /// Every stage in its order, as far as it is known before anything was asked.
    static func plan(_ collector: Source, _ credential: Credential) -> [DiagnosisStage] {
        let port = String(credential.effectivePort)
        var stages = [DiagnosisStage(.tcp, target: port)]
        if credential.useSSL, credential.type != .wmi { stages.append(DiagnosisStage(.tls, target: port)) }
        stages += [DiagnosisStage(.identify), DiagnosisStage(.authenticate)]
        if collector.hasExporter { stages.append(DiagnosisStage(.exporter)) }
        stages.append(DiagnosisStage(.namespace, target: WindowsQueries.namespace))
        return stages + Self.queries.map { DiagnosisStage(.class, target: $0.name) }
    }

    /// - Throws: `CancellationError`, or what kept the gate from deciding.
    func run() async throws {
        do { try await self.walk() } catch is Ended {} catch {
            await self.close()
            throw error
        }
        await self.close()
    }

    private func close() async {
        await self.connection?.close()
        self.connection = nil
    }

    // MARK: - Stages

    private func walk() async throws {
        try await self.reach()
        let clock = try await self.identify()
        try await self.authenticate(clock)
        if self.collector.hasExporter { try await self.enterExporter() }
        try await self.openNamespace()
        try await self.askClasses()
    }

    /// TCP, and TLS where there is some: first what the certificate says, then whether it is good enough.
    private func reach() async throws {
        self.recorder.begin(.tcp)
        let (collector, target) = (self.collector, self.target)
        let inspection = try await self.step { deadline throws(Source.Failure) in
            try await collector.openInspection(of: target, deadline: deadline)
        }
        guard let inspection else {
            try await self.connect()
            return self.recorder.finish(.passed)
        }
        self.recorder.finish(.passed)
        self.recorder.begin(.tls)
        do {
            let certificate = try await self.step { deadline throws(Source.Failure) in
                try await collector.certificate(over: inspection, deadline: deadline)
            }
            self.certificate = certificate
            self.recorder.note(certificate.facts)
        } catch {
            await collector.close(inspection)
            throw error
        }
        await collector.close(inspection)
        try await self.connect()
        let remaining = self.certificate.map { $0.notAfter.timeIntervalSinceNow } ?? .infinity
        let endsSoon = remaining < self.limits.renewalNotice / .seconds(1)
        guard endsSoon, target.credential.credential.tlsVerify != .none else { return self.recorder.finish(.passed) }
        self.recorder.finish(.warning, remedy: Remedies.renewal)
    }

    /// - Returns: how far the host's clock is off, where that is too far.
    private func identify() async throws -> Bool {
        self.recorder.begin(.identify)
        guard let connection = self.connection else { throw Ended() }
        let (collector, target) = (self.collector, self.target)
        let host = try await self.step { deadline throws(Source.Failure) in
            try await collector.identify(target, over: connection, deadline: deadline)
        }
        self.recorder.note(host.facts)
        let isOff = self.noteClock(of: host)
        if let refusal = host.refusal {
            self.recorder.finish(.warning, cause: self.cause(refusal), remedy: Self.refusedIdentification)
        } else if isOff {
            self.recorder.finish(.warning, remedy: Remedies.clock)
        } else {
            self.recorder.finish(.passed)
        }
        return isOff
    }

    private static var refusedIdentification: String {
        "Nothing needs to be done as long as the next stages pass: the host tells strangers nothing of itself."
    }

    private func authenticate(_ clockIsKnown: Bool) async throws {
        self.recorder.begin(.authenticate)
        let host = try await self.signIn(finish: !self.collector.hasExporter)
        if !clockIsKnown, self.noteClock(of: host) {
            self.recorder.finish(.warning, remedy: Remedies.clock)
        } else {
            self.recorder.finish(.passed)
        }
    }

    private func enterExporter() async throws {
        self.recorder.begin(.exporter)
        guard let connection = self.connection else { throw Ended() }
        let exporter = await self.collector.exporter(over: connection)
        if let target = exporter.target { self.recorder.note(target: target) }
        self.recorder.note(exporter.facts)
        try await self.finishSignIn(connection)
        self.recorder.finish(.passed)
    }

    private func openNamespace() async throws {
        self.recorder.begin(.namespace)
        let collector = self.collector
        let deadline = self.target.deadline - self.limits.reservePerClass * Self.queries.count
        do {
            try await self.reconnecting(until: deadline) {
                guard let connection = self.connection else { throw Ended() }
                do throws(Source.Failure) {
                    try await collector.openNamespace(over: connection, deadline: deadline)
                } catch {
                    throw try self.checked(error)
                }
            }
        } catch let error as StepFailure {
            if error.transport.countsAsFailedLogin { try await self.reportFailedLogin(error.transport.failure) }
            self.fail(error.transport.failure, reason: error.reason)
            throw Ended()
        }
        self.recorder.finish(.passed)
    }

    /// One class that fails says nothing about the others: they are asked for as long as the connection survives it.
    private func askClasses() async throws {
        let queries = Self.queries
        for (index, query) in queries.enumerated() where ContinuousClock.now < self.target.deadline {
            self.recorder.begin(.class, target: query.name)
            let reserve = self.limits.reservePerClass * (queries.count - index - 1)
            do {
                let rows = try await self.rows(of: query, until: self.target.deadline - reserve)
                self.judge(rows, of: query)
            } catch is Ended {
                guard self.connection?.isOpen == true else { return }
            }
        }
    }

    private func judge(_ rows: [Source.Row], of query: ClassQuery) {
        self.recorder.note([DiagnosisFact("rows", String(rows.count))])
        var failure: PollFailure?
        if let group = query.group {
            var sample = RawSample()
            WindowsQueries.decode(group, rows: rows, into: &sample)
            failure = sample.failures.first?.failure
            self.recorder.note(sample.identity.facts)
        } else if let name = WindowsQueries.hostname(rows) {
            self.recorder.note([DiagnosisFact("hostname", name)])
        } else {
            failure = PollFailure(.countersMissing, "\(query.name) brought no host name")
        }
        if let failure {
            self.fail(failure, className: query.name, isRequired: query.group != nil)
        } else {
            self.recorder.finish(.passed)
        }
    }

    // MARK: - Steps

    private func connect() async throws {
        let (collector, target) = (self.collector, self.target)
        self.connection = try await self.step { deadline throws(Source.Failure) in
            try await collector.connect(to: target, deadline: deadline)
        }
    }

    /// Signs in on the connection, or on a new one when the host has ended it after the question who it is.
    ///
    /// - Parameter finish: whether to do what is left once the password is accepted.
    private func signIn(finish: Bool) async throws -> HostIdentification {
        if self.connection?.isOpen != true {
            await self.close()
            try await self.connect()
        }
        guard let connection = self.connection else { throw Ended() }
        let (collector, target) = (self.collector, self.target)
        try await self.step { deadline throws(Source.Failure) in
            try await collector.prepareSignIn(over: connection, to: target, deadline: deadline)
        }
        let host = await collector.challenge(over: connection)
        self.recorder.note(host.facts)
        try await self.prove(over: connection)
        if finish { try await self.finishSignIn(connection) }
        return host
    }

    /// The password, inside the gate.
    private func prove(over connection: Source.Connection) async throws {
        let (collector, target) = (self.collector, self.target)
        let seen = Mutex<StepFailure?>(nil)
        do {
            try await target.gate.authenticate(
                deviceID: target.deviceID,
                credentialID: target.credential.credential.id
            ) {
                do throws(Source.Failure) {
                    let deadline = min(.now + collector.limits.signInTimeout, target.deadline)
                    try await collector.signIn(over: connection, to: target, deadline: deadline)
                } catch {
                    let failure = StepFailure(
                        transport: collector.transportFailure(error, at: target),
                        reason: collector.reason(of: error)
                    )
                    if failure.transport.isCancellation { throw CancellationError() }
                    seen.withLock { $0 = failure }
                    throw failure.transport.failure
                }
            }
        } catch let failure as PollFailure {
            self.fail(failure, reason: seen.withLock { $0?.reason })
            throw Ended()
        }
    }

    private func finishSignIn(_ connection: Source.Connection) async throws {
        let (collector, target) = (self.collector, self.target)
        try await self.step { deadline throws(Source.Failure) in
            try await collector.finishSignIn(over: connection, to: target, deadline: deadline)
        }
    }

    private func rows(of query: ClassQuery, until limit: ContinuousClock.Instant) async throws -> [Source.Row] {
        do {
            return try await self.reconnecting(until: limit) { try await self.ask(query.wql, until: limit) }
        } catch let error as StepFailure {
            if error.transport.countsAsFailedLogin { try await self.reportFailedLogin(error.transport.failure) }
            self.fail(
                error.transport.failure,
                reason: error.reason,
                className: query.name,
                isRequired: query.group != nil
            )
            throw Ended()
        }
    }

    /// A connection that the host has let go of is replaced once, as in a poll.
    private func reconnecting<Value>(
        until limit: ContinuousClock.Instant,
        _ body: () async throws -> Value
    ) async throws -> Value {
        do { return try await body() } catch let error as StepFailure {
            guard error.transport.suggestsReconnect, !self.hasReconnected, ContinuousClock.now < limit else {
                throw error
            }
            self.hasReconnected = true
            self.recorder.note([DiagnosisFact("reconnected", "the host ended the connection; signed in anew")])
            await self.close()
            _ = try await self.signIn(finish: true)
            return try await body()
        }
    }

    private func ask(_ wql: String, until limit: ContinuousClock.Instant) async throws -> [Source.Row] {
        guard let connection = self.connection else { throw Ended() }
        do throws(Source.Failure) {
            return try await self.collector.rows(of: wql, over: connection, deadline: limit)
        } catch {
            throw try self.checked(error)
        }
    }

    /// A login that failed outside a sign-in, as with Basic, counts all the same, and is not tried again.
    private func reportFailedLogin(_ failure: PollFailure) async throws {
        await self.close()
        do {
            try await self.target.gate.authenticate(
                deviceID: self.target.deviceID,
                credentialID: self.target.credential.credential.id
            ) { throw failure }
        } catch is PollFailure {}
    }

    /// Runs a step of the stage that is under way. A failure is recorded and ends the walk.
    private func step<Value: Sendable>(
        _ body: (_ deadline: ContinuousClock.Instant) async throws(Source.Failure) -> Value
    ) async throws -> Value {
        let deadline = min(.now + self.limits.step, self.target.deadline)
        do throws(Source.Failure) {
            return try await body(deadline)
        } catch {
            let error = try self.checked(error)
            self.fail(error.transport.failure, reason: error.reason)
            throw Ended()
        }
    }

    /// What an error means; one of a connection that ended by itself is no cancellation.
    private func checked(_ error: Source.Failure) throws -> StepFailure {
        let failure = self.collector.transportFailure(error, at: self.target)
        guard failure.isCancellation else {
            return StepFailure(transport: failure, reason: self.collector.reason(of: error))
        }
        try Task.checkCancellation()
        let text = "\(self.collector.endpointSummary(self.target)): the connection was closed in the middle of a call"
        return StepFailure(transport: TransportFailure(PollFailure(.connectionReset, text), suggestsReconnect: true))
    }

    // MARK: - Recording

    private func fail(
        _ failure: PollFailure,
        reason: DiagnosisReason? = nil,
        className: String? = nil,
        isRequired: Bool = true
    ) {
        var context = RemedyContext(self.target.credential.credential, stage: self.recorder.current?.kind)
        context.reason = reason
        context.className = className
        context.certificate = self.certificate
        self.recorder.finish(
            isRequired ? .failed : .warning,
            cause: self.cause(failure),
            remedy: Remedies.text(failure.code, context)
        )
    }

    private func cause(_ failure: PollFailure) -> DiagnosisStage.Cause {
        DiagnosisStage.Cause(code: failure.code, message: failure.message)
    }

    /// - Returns: whether the host's clock is further off than it may be.
    private func noteClock(of host: HostIdentification) -> Bool {
        guard let clock = host.clock else { return false }
        let offset = clock.timeIntervalSinceNow.rounded()
        guard abs(offset) <= Double(Int32.max) else { return true }
        self.recorder.note([DiagnosisFact("clock_offset_seconds", String(Int(offset)))])
        return abs(offset) > self.limits.clockTolerance / .seconds(1)
    }
}
