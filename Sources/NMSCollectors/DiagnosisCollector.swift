package import Foundation
package import NMSCore

/// What a host says of itself without a login.
package struct HostIdentification: Sendable {
    package var facts: [DiagnosisFact]
    /// Why it says nothing: hosts may keep quiet towards strangers, and polls work all the same.
    package var refusal: PollFailure?
    /// By the host's own clock.
    package var clock: Date?

    package init(facts: [DiagnosisFact], refusal: PollFailure? = nil, clock: Date? = nil) {
        self.facts = facts
        self.refusal = refusal
        self.clock = clock
    }
}

/// A collector whose way to a host can be walked step by step; it adds to ``WindowsCollector``'s steps only what a poll
/// does not look at.
package protocol DiagnosableCollector: WindowsCollector {
    /// A connection for looking at the host's certificate.
    associatedtype Inspection: Sendable

    /// Connects for a look at the certificate; nil where there is no TLS.
    func openInspection(
        of target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(Failure) -> Inspection?

    /// What the certificate says, whether it is trusted or not.
    func certificate(over inspection: Inspection, deadline: ContinuousClock.Instant) async throws(Failure)
        -> CertificateFacts

    func close(_ inspection: Inspection) async

    /// Asks who the host is, without a login; `connection` is not signed in and may be used.
    func identify(
        _ target: CollectorTarget,
        over connection: Connection,
        deadline: ContinuousClock.Instant
    ) async throws(Failure) -> HostIdentification

    /// What the host has said of itself while signing in.
    func challenge(over connection: Connection) async -> HostIdentification

    /// Where ``finishSignIn(over:to:deadline:)`` will connect to; nil where it needs no connection of its own.
    ///
    /// A collector with `hasExporter` has a stage of its own for that.
    func exporter(over connection: Connection) async -> (target: String?, facts: [DiagnosisFact])

    var hasExporter: Bool { get }

    /// Opens the namespace of the queries.
    func openNamespace(over connection: Connection, deadline: ContinuousClock.Instant) async throws(Failure)

    /// What of an error the code does not tell.
    func reason(of error: Failure) -> DiagnosisReason?
}

extension DiagnosableCollector where Inspection == Never {
    package func openInspection(
        of target: CollectorTarget,
        deadline: ContinuousClock.Instant
    ) async throws(Failure) -> Never? { nil }

    package func certificate(
        over inspection: Never,
        deadline: ContinuousClock.Instant
    ) async throws(Failure) -> CertificateFacts {}

    package func close(_ inspection: Never) async {}
}

extension DiagnosableCollector {
    package var hasExporter: Bool { false }

    package func exporter(over connection: Connection) async -> (target: String?, facts: [DiagnosisFact]) { (nil, []) }
}

extension WindowsQueries {
    /// The class that a query selects from.
    static func className(of wql: String) -> String {
        let words = wql.split(separator: " ")
        guard let from = words.firstIndex(of: "FROM"), words.indices.contains(from + 1) else { return wql }
        return String(words[from + 1])
    }
}
