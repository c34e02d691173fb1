internal import Postgres

/// Who is to blame for a batch that was not stored; pure.
enum WriteFailure: Equatable {
    /// Some result can't be stored, now or later.
    case data(reason: String)
    /// Rows of this month can't be stored until somebody sees to its partition.
    case month(MetricsMonth, reason: String)
    /// The database as a whole is away or busy: every result would fail.
    case database
    /// The writer is told to stop.
    case cancelled
    /// Something that should not happen.
    case unexpected

    /// Classes of SQLSTATE that say nothing about the data: connection, transaction state, rollback, resources, object
    /// state, intervention, system (PostgreSQL, Appendix A). Syntax and access rules as well: a table that is missing or
    /// forbidden is so for every result, and all are to be held until somebody has seen to it, not buried.
    private static let databaseClasses: Set<String> = ["08", "25", "40", "42", "53", "55", "57", "58"]
    /// Data exceptions and violated constraints.
    private static let dataClasses: Set<String> = ["22", "23"]

    init(_ error: any Error) {
        switch error {
        case is CancellationError: self = .cancelled
        case let error as MetricsPartitionError:
            switch error {
            case .unattached(let month): self = .month(month, reason: "\(error)")
            }
        case let error as PostgresError:
            switch error {
            case .connectionFailed, .connectionLost, .poolExhausted, .poolClosed: self = .database
            case .invalidParameter: self = .data(reason: "\(error)")
            case .server(let error) where Self.databaseClasses.contains(error.sqlState.errorClass): self = .database
            case .server(let error) where Self.dataClasses.contains(error.sqlState.errorClass):
                self = .data(reason: "\(error.sqlState) \(error.message)")
            case .server, .decoding, .unexpectedResult: self = .unexpected
            }
        case let error as PostgresEncodingError: self = .data(reason: error.reason)
        default: self = .unexpected
        }
    }
}

extension PostgresError {
    /// "No partition of relation found for row": a check violation without a constraint.
    var isMissingPartition: Bool {
        self.sqlState == .checkViolation && (self.constraint ?? "").isEmpty && self.serverError?.column == nil
    }
}
