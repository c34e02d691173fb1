/// The rounds of one query: bounds them, and decides when it is at its end.
struct RowFetch {
    let limits: WMILimits
    let flag: CancellationFlag
    let causality: GUID
    let deadline: ContinuousClock.Instant
    /// Answers that came.
    private(set) var requests = 0
    private(set) var rows = 0
    private(set) var bytes = 0

    /// The share of the time left that the host may use, so that its own time-out arrives before ours and the
    /// connection stays usable.
    private static let hostShare = 0.9
    /// The shortest time in milliseconds for which a host is asked again. With less, what is left beside the host's share
    /// no longer covers the way there and back, and the answer would find the connection closed.
    private static let shortestRepetition = 200.0

    init(limits: WMILimits, flag: CancellationFlag, causality: GUID, deadline: ContinuousClock.Instant) {
        self.limits = limits
        self.flag = flag
        self.causality = causality
        self.deadline = deadline
    }

    /// How long the host may wait for rows, in milliseconds.
    func hostTimeout(at now: ContinuousClock.Instant) throws(WMIError) -> UInt32 {
        if self.flag.isCancelled { throw .cancelled(.fetching) }
        let remaining = now.duration(to: self.deadline) / .milliseconds(1) * Self.hostShare
        guard remaining >= (self.requests == 0 ? 1 : Self.shortestRepetition) else { throw .timedOut(.fetching) }
        return UInt32(min(remaining, Double(Int32.max)))
    }

    mutating func add(rows: Int, bytes: Int) throws(WMIError) {
        self.requests += 1
        self.rows += rows
        self.bytes += bytes
        guard self.rows <= self.limits.maximumRows else {
            throw .responseTooLarge("\(self.limits.maximumRows) rows")
        }
        guard self.bytes <= self.limits.maximumQueryBytes else {
            throw .responseTooLarge("\(self.limits.maximumQueryBytes) bytes")
        }
    }

    /// What an answer's result means. WBEM_S_FALSE ends the enumeration and may have come with rows; WBEM_S_TIMEDOUT
    /// says to ask again, for which there must be time.
    func isEnd(_ result: HRESULT, count: Int) throws(WMIError) -> Bool {
        if result == .wbemFalse { return true }
        guard !result.isFailure else { throw WMIError(result, during: .fetching) }
        guard self.requests < self.limits.maximumRequests else {
            throw .protocolViolation(.fetching, "an enumeration without an end")
        }
        if count == 0, result != .wbemTimedOut {
            throw .protocolViolation(.fetching, "no rows, and no end (\(result))")
        }
        return false
    }
}

extension ObjectReference {
    /// What it took on the wire, roughly.
    var size: Int {
        if case .custom(_, _, let data) = self.kind { data.count } else { StandardReference.size }
    }
}
