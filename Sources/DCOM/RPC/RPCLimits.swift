/// Bounds on what a host can make this client hold.
package struct RPCLimits: Sendable, Hashable {
    /// The longest fragment that is sent and taken, in bytes: 1,432 to 65,535.
    package let maximumFragment: Int
    /// The longest stub of an answer, in bytes.
    package let maximumStub: Int

    package init(
        maximumFragment: Int = RPCFragment.defaultMaximum,
        maximumStub: Int = RPCReassembler.defaultMaximumStub
    ) {
        self.maximumFragment = min(max(maximumFragment, RPCFragment.requiredMaximum), Int(UInt16.max))
        self.maximumStub = max(maximumStub, 0)
    }
}

/// What went over a connection so far.
package struct RPCStatistics: Sendable, Hashable {
    /// Exchanges with an answer: associations and calls.
    package var roundTrips: Int
    package var bytesSent: Int
    package var bytesReceived: Int

    package init(roundTrips: Int = 0, bytesSent: Int = 0, bytesReceived: Int = 0) {
        self.roundTrips = roundTrips
        self.bytesSent = bytesSent
        self.bytesReceived = bytesReceived
    }

    package static func + (left: Self, right: Self) -> Self {
        Self(
            roundTrips: left.roundTrips + right.roundTrips,
            bytesSent: left.bytesSent + right.bytesSent,
            bytesReceived: left.bytesReceived + right.bytesReceived
        )
    }
}
