import DCOM

/// The objects of one host's WMI service that clients hold references to, [MS-DCOM] 3.1.1.
///
/// Decides only. References belong to the connection that used their object last, so that those can be told which
/// nobody will release any more.
struct DCOMExporter: Sendable {
    /// Numbers of connections, unique within the simulator.
    typealias ClientID = UInt64

    /// What an object is.
    enum Kind: Sendable, Hashable {
        case login
        case services(namespace: String)
        /// Gives IEnumWbemClassObject and IWbemFetchSmartEnum.
        case enumerator(DCOMEnumeration.ID)
        case smartEnumerator(DCOMEnumeration.ID)
    }

    /// A reference that a call names: its object and what it can do.
    struct Target: Sendable, Hashable {
        var kind: Kind
        var interface: GUID
        var oid: UInt64
    }

    /// Public references that come with an interface; Windows gives five.
    static let publicReferences: UInt32 = 5

    private struct Interface: Sendable {
        var id: GUID
        var references: Int
    }

    private struct Object: Sendable {
        var kind: Kind
        /// By IPID.
        var interfaces: [GUID: Interface] = [:]
        var client: ClientID
        var lastPing: FileTime
        /// From when on its references count as leaked, unless somebody uses it before.
        var abandoned: FileTime?

        var references: Int { self.interfaces.values.reduce(0) { $0 + $1.references } }
    }

    private struct PingSet {
        var members: Set<UInt64> = []
        var lastPing: FileTime
    }

    /// Identifies the service's process. Another one after each boot.
    let oxid: UInt64
    /// The IPID of the exporter's IRemUnknown.
    let remUnknown: GUID
    let times: SimulatorConfiguration.ObjectTimes
    /// Releases of more than was held.
    private(set) var excessReleases = 0

    private var objects: [UInt64: Object] = [:]
    /// Objects by IPID.
    private var owners: [GUID: UInt64] = [:]
    private var enumerations: [DCOMEnumeration.ID: DCOMEnumeration] = [:]
    private var pingSets: [UInt64: PingSet] = [:]
    private var reclaimedLeaks = 0
    private var random: SplitMix64
    private var sequence: UInt32 = 0
    /// No object or ping set is due before this, so that most calls need not look at all of them.
    private var nextReclaim = FileTime(ticks: .max)

    init(seed: UInt64, times: SimulatorConfiguration.ObjectTimes = SimulatorConfiguration.ObjectTimes()) {
        self.times = times
        var random = SplitMix64(seed: seed)
        self.oxid = random.next()
        self.remUnknown = GUID(0, UInt16(truncatingIfNeeded: random.next()), 0, random.next())
        self.random = random
    }

    // MARK: Objects

    /// Makes an object, or a further interface of one, and gives a reference to it.
    mutating func export(
        _ kind: Kind,
        interface: GUID,
        client: ClientID,
        now: FileTime
    ) -> StandardReference {
        self.reclaim(now)
        let oid = self.random.next()
        self.objects[oid] = Object(kind: kind, client: client, lastPing: now)
        self.nextReclaim = min(self.nextReclaim, now.adding(seconds: self.times.reclaim))
        return self.addInterface(interface, to: oid, references: Self.publicReferences)
    }

    private mutating func addInterface(_ interface: GUID, to oid: UInt64, references: UInt32) -> StandardReference {
        let known = self.objects[oid]?.interfaces.first { $0.value.id == interface }?.key
        let ipid = known ?? self.newIdentifier()
        self.owners[ipid] = oid
        self.objects[oid]?.interfaces[ipid, default: Interface(id: interface, references: 0)].references +=
            Int(references)
        return StandardReference(publicReferences: references, oxid: self.oxid, oid: oid, ipid: ipid)
    }

    /// A GUID that nothing else of this exporter has.
    mutating func newIdentifier() -> GUID {
        self.sequence += 1
        let bits = self.random.next()
        return GUID(self.sequence, UInt16(truncatingIfNeeded: bits), UInt16(truncatingIfNeeded: bits >> 16), bits)
    }

    /// What a call's IPID means; nil if it is unknown, released or reclaimed. The object is the caller's from now on.
    mutating func use(_ ipid: GUID, client: ClientID, now: FileTime) -> Target? {
        self.reclaim(now)
        guard let oid = self.owners[ipid], let interface = self.objects[oid]?.interfaces[ipid] else { return nil }
        self.objects[oid]?.client = client
        self.objects[oid]?.abandoned = nil
        return self.objects[oid].map { Target(kind: $0.kind, interface: interface.id, oid: oid) }
    }

    /// Another interface of an object; nil if it has none of that kind.
    mutating func queryInterface(_ ipid: GUID, interface: GUID, references: UInt32) -> StandardReference? {
        guard let oid = self.owners[ipid], let kind = self.objects[oid]?.kind, kind.interfaces.contains(interface)
        else { return nil }
        return self.addInterface(interface, to: oid, references: references)
    }

    /// Adds references; false for an unknown IPID.
    mutating func addReferences(_ count: UInt32, to ipid: GUID) -> Bool {
        guard let oid = self.owners[ipid] else { return false }
        self.objects[oid]?.interfaces[ipid]?.references += Int(count)
        return true
    }

    /// Gives references back; false for an unknown IPID or more than were held.
    mutating func release(_ count: UInt32, of ipid: GUID) -> Bool {
        guard let oid = self.owners[ipid], let interface = self.objects[oid]?.interfaces[ipid] else {
            self.excessReleases += 1
            return false
        }
        let isExcess = Int(count) > interface.references
        if isExcess { self.excessReleases += 1 }
        if Int(count) >= interface.references {
            self.owners[ipid] = nil
            self.objects[oid]?.interfaces[ipid] = nil
            if self.objects[oid]?.interfaces.isEmpty == true { self.remove(oid) }
        } else {
            self.objects[oid]?.interfaces[ipid]?.references -= Int(count)
        }
        return !isExcess
    }

    private mutating func remove(_ oid: UInt64) {
        guard let object = self.objects.removeValue(forKey: oid) else { return }
        for ipid in object.interfaces.keys { self.owners[ipid] = nil }
        guard let id = object.kind.enumeration else { return }
        // The last of the objects that walk through an enumeration ends it.
        if !self.objects.values.contains(where: { $0.kind.enumeration == id }) { self.enumerations[id] = nil }
    }

    // MARK: Enumerations

    mutating func begin(_ enumeration: DCOMEnumeration) -> DCOMEnumeration.ID {
        let id = DCOMEnumeration.ID(self.random.next())
        self.enumerations[id] = enumeration
        return id
    }

    var openEnumerations: Int { self.enumerations.values.count { $0.finished == nil } }

    subscript(id: DCOMEnumeration.ID) -> DCOMEnumeration? {
        get { self.enumerations[id] }
        set { self.enumerations[id] = newValue }
    }

    /// Another process with no objects, as after a boot. What was counted stays.
    mutating func restart() {
        var next = DCOMExporter(seed: self.random.next(), times: self.times)
        next.excessReleases = self.excessReleases
        next.reclaimedLeaks = self.reclaimedLeaks
        self = next
    }

    // MARK: Clients and pings

    /// A connection has ended.
    ///
    /// - Parameter isActivator: it was one to the resolver, whose objects another connection may take over.
    mutating func clientEnded(_ client: ClientID, isActivator: Bool, now: FileTime) {
        self.reclaim(now)
        let time = isActivator ? now.adding(seconds: self.times.handover) : now
        for oid in self.objects.keys where self.objects[oid]?.client == client { self.objects[oid]?.abandoned = time }
    }

    /// Takes everything back that belongs to a connection.
    mutating func forget(_ client: ClientID) {
        for (oid, object) in self.objects where object.client == client { self.remove(oid) }
    }

    /// Ping sets that clients keep.
    var pingSetCount: Int { self.pingSets.count }

    /// SimplePing; false for a set that is unknown or was not pinged in time.
    mutating func ping(set: UInt64, now: FileTime) -> Bool {
        self.reclaim(now)
        guard let members = self.pingSets[set]?.members else { return false }
        self.pingSets[set]?.lastPing = now
        for oid in members { self.objects[oid]?.lastPing = now }
        return true
    }

    /// ComplexPing: changes a set, or makes one for 0, and pings it; nil for a set that is unknown or was not
    /// pinged in time.
    mutating func ping(set: UInt64, adding: [UInt64], removing: [UInt64], now: FileTime) -> UInt64? {
        self.reclaim(now)
        let id = set == 0 ? self.random.next() | 1 : set
        guard set == 0 || self.pingSets[set] != nil else { return nil }
        // Objects that are gone need no ping.
        let live = adding.filter { self.objects[$0] != nil }
        let members = (self.pingSets[id]?.members ?? []).union(live).subtracting(removing)
        self.pingSets[id] = PingSet(members: members.filter { self.objects[$0] != nil }, lastPing: now)
        self.nextReclaim = min(self.nextReclaim, now.adding(seconds: self.times.reclaim))
        _ = self.ping(set: id, now: now)
        return id
    }

    /// Takes back what nobody pinged. A client pings what it keeps, so one that loses an object has lost track of it,
    /// and its references count as leaked.
    private mutating func reclaim(_ now: FileTime) {
        guard now >= self.nextReclaim else { return }
        self.nextReclaim = FileTime(ticks: .max)
        for (oid, object) in self.objects {
            let due = object.lastPing.adding(seconds: self.times.reclaim)
            if due > now {
                self.nextReclaim = min(self.nextReclaim, due)
            } else {
                self.reclaimedLeaks += object.references
                self.remove(oid)
            }
        }
        for (id, set) in self.pingSets {
            let due = set.lastPing.adding(seconds: self.times.reclaim)
            if due > now { self.nextReclaim = min(self.nextReclaim, due) } else { self.pingSets[id] = nil }
        }
    }

    /// Takes back everything that is older than some seconds, pinged or not. The client could not help it, so nothing
    /// counts as leaked.
    mutating func reclaimAll(olderThan age: Double, now: FileTime) {
        for (oid, object) in self.objects where object.lastPing.adding(seconds: age) <= now { self.remove(oid) }
    }

    // MARK: Counts

    /// References that somebody may still release.
    func heldReferences(_ now: FileTime) -> Int {
        self.objects.values.reduce(0) { $0 + (self.isLeaked($1, now) ? 0 : $1.references) }
    }

    /// References that their client left behind, or did not ping in time.
    func leakedReferences(_ now: FileTime) -> Int {
        self.objects.values.reduce(self.reclaimedLeaks) { $0 + (self.isLeaked($1, now) ? $1.references : 0) }
    }

    private func isLeaked(_ object: Object, _ now: FileTime) -> Bool {
        if let abandoned = object.abandoned, abandoned <= now { return true }
        if object.lastPing.adding(seconds: self.times.reclaim) <= now { return true }
        guard let id = object.kind.enumeration, let finished = self.enumerations[id]?.finished else { return false }
        return finished.adding(seconds: self.times.enumerator) <= now
    }
}

extension DCOMExporter.Kind {
    var enumeration: DCOMEnumeration.ID? {
        switch self {
        case .enumerator(let id), .smartEnumerator(let id): id
        case .login, .services: nil
        }
    }

    /// Interfaces besides IUnknown.
    var interfaces: [GUID] {
        switch self {
        case .login: [RPCInterface.wbemLevel1Login.uuid]
        case .services: [RPCInterface.wbemServices.uuid]
        case .enumerator: [RPCInterface.enumWbemClassObject.uuid, RPCInterface.wbemFetchSmartEnum.uuid]
        case .smartEnumerator: [RPCInterface.wbemWCOSmartEnum.uuid]
        }
    }
}
