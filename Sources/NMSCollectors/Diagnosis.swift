package import NMSCore

/// How long a diagnosis may take.
package struct DiagnosisLimits: Sendable {
    /// All of it (the contract's ten seconds), closing included.
    package var total: Duration = .seconds(10)
    /// Kept of it for giving back what the host holds.
    package var closing: Duration = .seconds(2)
    /// For a step whose answer comes at once or not at all: connecting, the handshake, the question who the host is.
    package var step: Duration = .seconds(3)
    /// Kept for each class that is still to be asked for when one is slow.
    package var reservePerClass: Duration = .milliseconds(300)
    /// A clock that is further off is worth a warning: what Kerberos tolerates by default.
    package var clockTolerance: Duration = .seconds(300)
    /// A certificate that ends sooner is worth a warning.
    package var renewalNotice: Duration = .seconds(14 * 86_400)

    package init() {}
}

/// Diagnoses Windows machines with the collectors' own steps.
package struct WindowsDiagnosis: DeviceDiagnosing {
    private let collectors: CollectorRegistry
    private let gate: any AuthenticationGate
    private let limits: DiagnosisLimits
    private let onCredentialChange: @Sendable (Int) -> Void

    /// - Parameters:
    ///   - collectors: their kept connections are not touched.
    ///   - gate: the lockout guard that polls of this instance go through, if it has any.
    ///   - onCredentialChange: for a guard that hears of changes from nobody else.
    package init(
        collectors: CollectorRegistry,
        gate: any AuthenticationGate,
        limits: DiagnosisLimits = DiagnosisLimits(),
        onCredentialChange: @escaping @Sendable (Int) -> Void = { _ in }
    ) {
        self.collectors = collectors
        self.gate = gate
        self.limits = limits
        self.onCredentialChange = onCredentialChange
    }

    package func credentialChanged(id: Int) { self.onCredentialChange(id) }

    package func diagnose(_ request: DiagnosisRequest) async throws -> DiagnosisReport {
        let collector = try self.collectors.collector(for: request.credential.credential.type)
        guard let collector = collector as? any DiagnosableCollector else {
            throw PollFailure(.protocolError, "the collector \(collector.name) cannot be diagnosed")
        }
        return try await self.diagnose(request, with: collector)
    }

    private func diagnose(
        _ request: DiagnosisRequest,
        with collector: some DiagnosableCollector
    ) async throws -> DiagnosisReport {
        let began = ContinuousClock.now
        let target = CollectorTarget(
            deviceID: request.deviceID,
            address: request.address,
            hostname: request.hostname,
            credential: request.credential,
            deadline: began + self.limits.total - self.limits.closing,
            gate: self.gate
        )
        let plan = DiagnosisRun.plan(collector, request.credential.credential)
        let recorder = DiagnosisRecorder(plan: plan)
        let run = DiagnosisRun(collector: collector, target: target, limits: self.limits, recorder: recorder)
        try await self.within(target.deadline, run)
        if let current = recorder.current {
            // Steps end at their deadline by themselves; what was waited for is the gate.
            let context = RemedyContext(request.credential.credential, stage: current.kind)
            let text = "time ran out while other sign-ins with this credential were under way, or none was answered"
            recorder.finish(
                .failed,
                cause: DiagnosisStage.Cause(code: .timeout, message: text),
                remedy: Remedies.text(.timeout, context)
            )
        }
        return DiagnosisReport(
            endpoint: collector.endpointSummary(target),
            durationMs: (ContinuousClock.now - began).wholeMilliseconds,
            stages: recorder.stages
        )
    }

    /// Cancels a walk that does not end by itself; its closing is waited for.
    private func within(_ deadline: ContinuousClock.Instant, _ run: DiagnosisRun<some DiagnosableCollector>)
        async throws
    {
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await run.run()
                return true
            }
            group.addTask {
                try await Task.sleep(until: deadline + .milliseconds(100))
                return false
            }
            let hasEnded = try await group.next() == true
            group.cancelAll()
            guard !hasEnded else { return }
            do { _ = try await group.next() } catch is CancellationError { try Task.checkCancellation() }
        }
    }
}
