import DCOM
import Testing

@testable import WindowsSimulator

/// Who holds what of a host's objects, and what becomes of it.
struct DCOMExporterTests {
    private static let start = CivilDate(year: 2026, month: 6, day: 1).fileTime
    private static let services = DCOMExporter.Kind.services(namespace: #"root\cimv2"#)
    private var exporter = DCOMExporter(seed: 1)

    private static func at(_ seconds: Double) -> FileTime { Self.start.adding(seconds: seconds) }

    private mutating func export(_ kind: DCOMExporter.Kind = Self.services, client: UInt64 = 1) -> StandardReference {
        let interface: RPCInterface = kind.enumeration == nil ? .wbemServices : .enumWbemClassObject
        return self.exporter.export(kind, interface: interface.uuid, client: client, now: Self.start)
    }

    private mutating func enumerator(client: UInt64 = 1) -> (StandardReference, DCOMEnumeration.ID) {
        let profile = HostProfile(index: 0, fleet: HostProfile.Fleet(seed: 1, epoch: Self.start))
        let snapshot = HostSnapshot(profile: profile, time: Self.start)
        let id = self.exporter.begin(
            DCOMEnumeration(plan: nil, snapshot: snapshot, rows: [0, 1], isForwardOnly: true)
        )
        return (self.export(.enumerator(id), client: client), id)
    }

    @Test mutating func fiveReferencesComeWithAnInterface() {
        let reference = self.export()
        #expect(reference.publicReferences == 5)
        #expect(reference.oxid == self.exporter.oxid)
        #expect(self.exporter.heldReferences(Self.start) == 5)
        #expect(self.exporter.release(2, of: reference.ipid) == true)
        #expect(self.exporter.heldReferences(Self.start) == 3)
        #expect(self.exporter.use(reference.ipid, client: 1, now: Self.start) != nil)
        #expect(self.exporter.release(3, of: reference.ipid) == true)
        #expect(self.exporter.heldReferences(Self.start) == 0)
        #expect(self.exporter.use(reference.ipid, client: 1, now: Self.start) == nil)
        #expect(self.exporter.excessReleases == 0)
    }

    @Test mutating func releasesOfMoreThanIsHeldAreCounted() {
        let reference = self.export()
        #expect(self.exporter.release(6, of: reference.ipid) == false)
        #expect(self.exporter.release(1, of: reference.ipid) == false)
        #expect(self.exporter.excessReleases == 2)
        #expect(self.exporter.heldReferences(Self.start) == 0)
    }

    @Test mutating func furtherInterfacesBelongToTheSameObject() throws {
        let (first, _) = self.enumerator()
        let smart = RPCInterface.wbemFetchSmartEnum.uuid
        let found = self.exporter.queryInterface(first.ipid, interface: smart, references: 1)
        let second = try #require(found)
        #expect(second.oid == first.oid && second.ipid != first.ipid)
        let again = self.exporter.queryInterface(first.ipid, interface: smart, references: 2)
        #expect(again?.ipid == second.ipid)
        #expect(self.exporter.heldReferences(Self.start) == 8)
        let none = self.exporter.queryInterface(first.ipid, interface: RPCInterface.wbemServices.uuid, references: 1)
        #expect(none == nil)
        #expect(self.exporter.release(5, of: first.ipid) == true)
        #expect(self.exporter.use(second.ipid, client: 1, now: Self.start) != nil)
        #expect(self.exporter.release(3, of: second.ipid) == true)
        #expect(self.exporter.openEnumerations == 0)
    }

    @Test mutating func whatAClientLeavesBehindHasLeaked() {
        let kept = self.export(client: 1)
        _ = self.export(client: 2)
        self.exporter.clientEnded(2, isActivator: false, now: Self.at(1))
        #expect(self.exporter.leakedReferences(Self.at(1)) == 5)
        #expect(self.exporter.heldReferences(Self.at(1)) == 5)
        #expect(self.exporter.use(kept.ipid, client: 1, now: Self.at(1)) != nil)
    }

    @Test mutating func whatTheHostCutsHasNotLeaked() {
        _ = self.export(client: 1)
        let other = self.export(client: 2)
        self.exporter.forget(1)
        #expect(self.exporter.heldReferences(Self.start) == 5)
        #expect(self.exporter.leakedReferences(Self.at(359)) == 0)
        #expect(self.exporter.use(other.ipid, client: 2, now: Self.start) != nil)
    }

    @Test mutating func anActivatorHandsItsObjectsOver() {
        let reference = self.export(client: 1)
        self.exporter.clientEnded(1, isActivator: true, now: Self.at(0))
        #expect(self.exporter.leakedReferences(Self.at(9)) == 0)
        #expect(self.exporter.leakedReferences(Self.at(10)) == 5)
        // Somebody uses it after all: it is the other connection's from now on.
        #expect(self.exporter.use(reference.ipid, client: 2, now: Self.at(11)) != nil)
        #expect(self.exporter.leakedReferences(Self.at(11)) == 0)
        self.exporter.clientEnded(1, isActivator: true, now: Self.at(12))
        #expect(self.exporter.leakedReferences(Self.at(60)) == 0)
        self.exporter.clientEnded(2, isActivator: false, now: Self.at(60))
        #expect(self.exporter.leakedReferences(Self.at(60)) == 5)
    }

    @Test mutating func finishedEnumeratorsLeakAfterAWhile() {
        let (reference, id) = self.enumerator()
        _ = self.exporter[id]?.next(5, now: Self.at(3))
        #expect(self.exporter.leakedReferences(Self.at(32)) == 0)
        #expect(self.exporter.leakedReferences(Self.at(33)) == 5)
        #expect(self.exporter.release(5, of: reference.ipid) == true)
        #expect(self.exporter.leakedReferences(Self.at(33)) == 0)
    }

    @Test mutating func objectsWithoutPingsAreReclaimed() throws {
        let pinged = self.export()
        let forgotten = self.export()
        let made = self.exporter.ping(set: 0, adding: [pinged.oid], removing: [], now: Self.at(100))
        let set = try #require(made)
        #expect(self.exporter.ping(set: set, now: Self.at(300)) == true)
        #expect(self.exporter.use(forgotten.ipid, client: 1, now: Self.at(359)) != nil)
        #expect(self.exporter.use(forgotten.ipid, client: 1, now: Self.at(360)) == nil)
        #expect(self.exporter.use(pinged.ipid, client: 1, now: Self.at(659)) != nil)
        #expect(self.exporter.ping(set: set, adding: [], removing: [pinged.oid], now: Self.at(659)) == set)
        #expect(self.exporter.ping(set: set, now: Self.at(700)) == true)
        #expect(self.exporter.use(pinged.ipid, client: 1, now: Self.at(1_019)) == nil)
        #expect(self.exporter.ping(set: set &+ 1, now: Self.at(1_020)) == false)
        #expect(self.exporter.ping(set: set &+ 1, adding: [], removing: [], now: Self.at(1_020)) == nil)
        // A client that lives and loses objects has lost track of them.
        #expect(self.exporter.heldReferences(Self.at(1_020)) == 0)
        #expect(self.exporter.leakedReferences(Self.at(1_020)) == 10)
    }

    @Test mutating func overdueObjectsHaveLeakedBeforeAnyCallFindsThem() {
        _ = self.export()
        #expect(self.exporter.leakedReferences(Self.at(359)) == 0)
        #expect(self.exporter.heldReferences(Self.at(359)) == 5)
        #expect(self.exporter.leakedReferences(Self.at(360)) == 5)
        #expect(self.exporter.heldReferences(Self.at(360)) == 0)
    }

    @Test mutating func whatAFaultReclaimsHasNotLeaked() {
        _ = self.export()
        self.exporter.reclaimAll(olderThan: 2, now: Self.at(2))
        #expect(self.exporter.heldReferences(Self.at(2)) == 0)
        #expect(self.exporter.leakedReferences(Self.at(600)) == 0)
    }

    /// Objects that nobody calls are reclaimed by whatever happens next.
    @Test(arguments: ["export", "simple ping", "complex ping", "end of a client"])
    mutating func everyEventReclaims(event: String) throws {
        let forgotten = self.export()
        let made = self.exporter.ping(set: 0, adding: [], removing: [], now: Self.at(300))
        let set = try #require(made)
        switch event {
        case "export":
            let interface = RPCInterface.wbemServices.uuid
            let added = self.exporter.export(Self.services, interface: interface, client: 2, now: Self.at(400))
            #expect(self.exporter.release(5, of: added.ipid) == true)
        case "simple ping":
            #expect(self.exporter.ping(set: set, now: Self.at(400)) == true)
        case "complex ping":
            let pinged = self.exporter.ping(set: set, adding: [forgotten.oid], removing: [], now: Self.at(400))
            #expect(pinged == set)
        default:
            self.exporter.clientEnded(2, isActivator: false, now: Self.at(400))
        }
        // As of a time when it was not overdue: gone all the same.
        #expect(self.exporter.heldReferences(Self.start) == 0)
        #expect(self.exporter.leakedReferences(Self.start) == 5)
    }

    @Test mutating func pingSetsExpire() throws {
        let made = self.exporter.ping(set: 0, adding: [], removing: [], now: Self.at(0))
        let set = try #require(made)
        #expect(self.exporter.ping(set: set, now: Self.at(359)) == true)
        #expect(self.exporter.ping(set: set, adding: [], removing: [], now: Self.at(718)) == set)
        #expect(self.exporter.pingSetCount == 1)
        #expect(self.exporter.ping(set: set, now: Self.at(1_078)) == false)
        #expect(self.exporter.ping(set: set, adding: [], removing: [], now: Self.at(1_078)) == nil)
        #expect(self.exporter.pingSetCount == 0)
    }

    @Test mutating func leaksStayCountedWhenTheyAreReclaimed() {
        _ = self.export()
        self.exporter.clientEnded(1, isActivator: false, now: Self.at(1))
        #expect(self.exporter.use(.null, client: 2, now: Self.at(400)) == nil)
        #expect(self.exporter.heldReferences(Self.at(400)) == 0)
        #expect(self.exporter.leakedReferences(Self.at(400)) == 5)
        self.exporter.restart()
        #expect(self.exporter.leakedReferences(Self.at(400)) == 5)
    }

    @Test mutating func aRestartIsAnotherExporter() {
        let reference = self.export()
        let before = self.exporter.oxid
        self.exporter.restart()
        #expect(self.exporter.oxid != before)
        #expect(self.exporter.use(reference.ipid, client: 1, now: Self.start) == nil)
    }
}

/// What Next answers, [MS-WMI] 3.1.4.4.2.
struct DCOMEnumerationTests {
    private static let start = CivilDate(year: 2026, month: 6, day: 1).fileTime
    private var enumeration: DCOMEnumeration

    init() {
        let profile = HostProfile(index: 0, fleet: HostProfile.Fleet(seed: 1, epoch: Self.start))
        self.enumeration = DCOMEnumeration(
            plan: nil,
            snapshot: HostSnapshot(profile: profile, time: Self.start),
            rows: [0, 1, 2, 3, 4],
            isForwardOnly: false
        )
    }

    private mutating func next(_ count: Int, at seconds: Double = 0) -> DCOMEnumeration.Batch {
        self.enumeration.next(count, now: Self.start.adding(seconds: seconds))
    }

    @Test mutating func theEndMayCarryRows() {
        #expect(self.next(2) == DCOMEnumeration.Batch(rows: [0, 1], status: 0))
        #expect(self.next(2) == DCOMEnumeration.Batch(rows: [2, 3], status: 0))
        #expect(self.enumeration.finished == nil)
        #expect(self.next(2) == DCOMEnumeration.Batch(rows: [4], status: 1))
        #expect(self.enumeration.finished != nil)
        #expect(self.next(2) == DCOMEnumeration.Batch(rows: [], status: 1))
    }

    @Test mutating func aFullBatchIsNotTheEnd() {
        #expect(self.next(5) == DCOMEnumeration.Batch(rows: [0, 1, 2, 3, 4], status: 0))
        #expect(self.enumeration.finished == nil)
        #expect(self.next(5) == DCOMEnumeration.Batch(rows: [], status: 1))
    }

    @Test mutating func nothingIsThereYet() {
        self.enumeration.ready = Self.start.adding(seconds: 2)
        #expect(self.next(5, at: 1) == DCOMEnumeration.Batch(rows: [], status: 0x40004))
        #expect(self.next(5, at: 2).rows.count == 5)
    }

    @Test mutating func timedOutFirst() {
        self.enumeration.tellsTimeoutFirst = true
        #expect(self.next(9) == DCOMEnumeration.Batch(rows: [], status: 0x40004))
        #expect(self.next(9) == DCOMEnumeration.Batch(rows: [0, 1, 2, 3, 4], status: 1))
    }

    @Test mutating func singleRows() {
        self.enumeration.maximumRows = 1
        for row in 0..<5 { #expect(self.next(9) == DCOMEnumeration.Batch(rows: [row], status: 0x40004)) }
        #expect(self.next(9) == DCOMEnumeration.Batch(rows: [], status: 1))
        #expect(self.enumeration.finished != nil)
    }

    @Test(arguments: [0, 2, 5]) mutating func anErrorInTheMiddle(rows: Int) {
        self.enumeration.failure = DCOMEnumeration.Failure(rows: rows, code: 0x8004_1015)
        if rows > 0 {
            #expect(self.next(9) == DCOMEnumeration.Batch(rows: Array(0..<rows), status: 0x40004))
        }
        #expect(self.next(9) == DCOMEnumeration.Batch(rows: [], status: 0x8004_1015))
        #expect(self.enumeration.finished != nil)
    }

    @Test mutating func resetBeginsAnew() {
        _ = self.next(9)
        #expect(self.enumeration.reset() == true)
        #expect(self.enumeration.finished == nil)
        #expect(self.next(1).rows == [0])
        #expect(self.enumeration.skip(3, now: Self.start) == 0)
        #expect(self.next(2) == DCOMEnumeration.Batch(rows: [4], status: 1))
    }

    @Test mutating func classesAreSentOnceToEachProxy() {
        let one: GUID = "00000000-0000-0000-0000-000000000001"
        let two: GUID = "00000000-0000-0000-0000-000000000002"
        let first = self.enumeration.classID(for: one) { "10000000-0000-0000-0000-000000000000" }
        #expect(!first.isKnown)
        let again = self.enumeration.classID(for: one) { "20000000-0000-0000-0000-000000000000" }
        #expect(again.isKnown && again.id == first.id)
        let other = self.enumeration.classID(for: two) { "30000000-0000-0000-0000-000000000000" }
        #expect(!other.isKnown)
    }
}
