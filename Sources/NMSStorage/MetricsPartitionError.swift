/// Why a month of `metrics` has no partition and can't be given one.
package enum MetricsPartitionError: Error, Sendable, Equatable {
    /// The name of the month's partition is taken by a relation that is not, or soon not any more, part of `metrics`.
    case unattached(MetricsMonth)
}

extension MetricsPartitionError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unattached(let month):
            "\(month.partition) exists but is not a partition of metrics, so that no row of its month can be stored: "
                + "attach it (ALTER TABLE metrics ATTACH PARTITION \(month.partition) "
                + "FOR VALUES FROM ('\(month.bounds.from)') TO ('\(month.bounds.to)')), or rename or drop it"
        }
    }
}
