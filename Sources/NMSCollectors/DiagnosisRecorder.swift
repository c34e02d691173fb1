internal import NMSCore
internal import Synchronization

/// The stages of one diagnosis while it goes on: what was not come to stays skipped.
final class DiagnosisRecorder: Sendable {
    private struct State {
        var stages: [DiagnosisStage]
        var current: (index: Int, began: ContinuousClock.Instant)?
    }

    private let state: Mutex<State>

    init(plan: [DiagnosisStage]) { self.state = Mutex(State(stages: plan, current: nil)) }

    var stages: [DiagnosisStage] { self.state.withLock { $0.stages } }

    /// The stage that is under way.
    var current: DiagnosisStage? { self.state.withLock { state in state.current.map { state.stages[$0.index] } } }

    /// - Parameter target: which of several of that kind.
    func begin(_ kind: DiagnosisStage.Kind, target: String? = nil) {
        self.state.withLock { state in
            let index = state.stages.firstIndex { $0.kind == kind && (target == nil || $0.target == target) }
            state.current = index.map { ($0, .now) }
        }
    }

    func note(_ facts: [DiagnosisFact]) { self.change { $0.facts += facts } }

    func note(target: String) { self.change { $0.target = target } }

    func finish(_ result: DiagnosisStage.Result, cause: DiagnosisStage.Cause? = nil, remedy: String? = nil) {
        self.state.withLock { state in
            guard let (index, began) = state.current else { return }
            state.current = nil
            state.stages[index].result = result
            state.stages[index].durationMs = (ContinuousClock.now - began).wholeMilliseconds
            state.stages[index].cause = cause
            state.stages[index].remedy = remedy
        }
    }

    private func change(_ body: (inout DiagnosisStage) -> Void) {
        self.state.withLock { state in
            guard let current = state.current else { return }
            body(&state.stages[current.index])
        }
    }
}

extension Duration {
    var wholeMilliseconds: Int {
        Int(self.components.seconds * 1000 + self.components.attoseconds / 1_000_000_000_000_000)
    }
}
