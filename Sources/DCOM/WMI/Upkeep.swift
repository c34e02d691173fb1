/// Decides when a connection that lives between polls is looked after. Pure: the clock is given.
struct Upkeep: Sendable {
    enum Action: Sendable, Hashable {
        case wait(until: ContinuousClock.Instant)
        /// Give back what is not needed any more.
        case release
        /// Tell the host that its objects are still needed.
        case ping
        /// Nobody needs the connection: give everything back and close it.
        case close
    }

    let limits: WMIUpkeepLimits
    private var lastUse: ContinuousClock.Instant
    private var nextPing: ContinuousClock.Instant

    init(limits: WMIUpkeepLimits, now: ContinuousClock.Instant) {
        self.limits = limits
        self.lastUse = now
        self.nextPing = now + limits.firstPing
    }

    mutating func used(at now: ContinuousClock.Instant) {
        self.lastUse = now
    }

    /// A ping has ended, well or not; after a failure there is time for two more before objects are reclaimed.
    mutating func pinged(at now: ContinuousClock.Instant) {
        self.nextPing = now + self.limits.pingInterval
    }

    /// - Parameters:
    ///   - isBusy: whether a query is running; it may run for long, and its objects are pinged meanwhile.
    ///   - hasRetired: whether there are references to give back.
    func action(
        at now: ContinuousClock.Instant,
        isBusy: Bool,
        hasRetired: Bool
    ) -> Action {
        let idleEnd = self.lastUse + self.limits.idleLimit
        if !isBusy, now >= idleEnd { return .close }
        if !isBusy, hasRetired { return .release }
        if now >= self.nextPing { return .ping }
        // The idle limit is looked at again with the next ping if there is a query now.
        return .wait(until: isBusy ? self.nextPing : min(self.nextPing, idleEnd))
    }
}

/// A ping set: which objects the host keeps for this client, [MS-DCOM] 3.2.6.1.
struct PingSet: Sendable {
    enum Ping: Sendable, Hashable {
        case simple(SimplePing.Request)
        case complex(ComplexPing.Request)
    }

    /// The host's number for it; 0 before it has one.
    private var set: UInt64 = 0
    private var sequence: UInt16 = 0
    private var members: Set<UInt64> = []

    /// The ping that keeps these objects alive; nil if there are none and there is no set.
    func ping(for objects: Set<UInt64>) -> Ping? {
        if self.set == 0, objects.isEmpty { return nil }
        if self.set != 0, objects == self.members { return .simple(SimplePing.Request(set: self.set)) }
        return .complex(
            ComplexPing.Request(
                set: self.set,
                sequence: self.sequence &+ 1,
                added: objects.subtracting(self.members).sorted(),
                removed: self.members.subtracting(objects).sorted()
            )
        )
    }

    /// The host has taken a change.
    mutating func changed(_ set: UInt64, to objects: Set<UInt64>) {
        self.set = set
        self.sequence &+= 1
        self.members = objects
    }

    /// The host does not know the set: the next ping makes a new one.
    mutating func forget() {
        self = PingSet()
    }
}
