import DCOM

/// A query's answer between ExecQuery and its end: [MS-WMI] 3.1.4.4 for enumerators.
struct DCOMEnumeration: Sendable {
    struct ID: Sendable, Hashable {
        private let number: UInt64

        init(_ number: UInt64) { self.number = number }
    }

    /// What a call of Next gives.
    struct Batch: Sendable, Hashable {
        /// Numbers of instances.
        var rows: [Int]
        var status: UInt32
    }

    /// An error that comes in the middle.
    struct Failure: Sendable, Hashable {
        /// Rows before it.
        var rows: Int
        var code: UInt32
    }

    /// Nil for a query that failed.
    let plan: DCOMPlan?
    /// The instant that all of its objects are of.
    let snapshot: HostSnapshot
    let isForwardOnly: Bool
    private let rows: [Int]
    private(set) var position = 0
    /// When the first object will be there.
    var ready: FileTime
    var failure: Failure?
    /// The first call is answered before anything is there.
    var tellsTimeoutFirst = false
    /// Rows of one answer at the most.
    var maximumRows = Int.max
    /// When the end was told.
    private(set) var finished: FileTime?
    /// The class's name in an ObjectArray, by proxy; those that are here have had the class part.
    private(set) var classIDs: [GUID: GUID] = [:]

    init(plan: DCOMPlan?, snapshot: HostSnapshot, rows: [Int], isForwardOnly: Bool) {
        self.plan = plan
        self.snapshot = snapshot
        self.rows = rows
        self.isForwardOnly = isForwardOnly
        self.ready = snapshot.time
    }

    /// Takes rows. The last may come with WBEM_S_FALSE, which also ends an enumeration without any.
    mutating func next(_ count: Int, now: FileTime) -> Batch {
        if self.tellsTimeoutFirst || now < self.ready {
            self.tellsTimeoutFirst = false
            return Batch(rows: [], status: WBEMStatus.timedOut)
        }
        let limit = min(count, self.maximumRows)
        var end = min(self.position + limit, self.rows.count)
        if let failure = self.failure {
            end = min(end, failure.rows)
            if self.position >= failure.rows {
                self.finished = self.finished ?? now
                return Batch(rows: [], status: failure.code)
            }
        }
        let batch = Array(self.rows[self.position..<end])
        self.position = end
        if batch.count == count { return Batch(rows: batch, status: WBEMStatus.ok) }
        guard end == self.rows.count, self.maximumRows == Int.max || batch.isEmpty else {
            // Less than was asked for, and not the end: what there is so far.
            return Batch(rows: batch, status: WBEMStatus.timedOut)
        }
        if let failure = self.failure, failure.rows >= end, !batch.isEmpty, failure.rows == end {
            return Batch(rows: batch, status: WBEMStatus.timedOut)
        }
        self.finished = self.finished ?? now
        return Batch(rows: batch, status: WBEMStatus.noMore)
    }

    /// Passes over rows; WBEM_S_FALSE if there were fewer.
    mutating func skip(_ count: Int, now: FileTime) -> UInt32 { self.next(count, now: now).status }

    /// Begins anew; false for a forward-only enumeration.
    mutating func reset() -> Bool {
        guard !self.isForwardOnly else { return false }
        self.position = 0
        self.finished = nil
        return true
    }

    /// The class's identifier for a proxy, and whether the proxy has had the class part before.
    mutating func classID(for proxy: GUID, new: () -> GUID) -> (id: GUID, isKnown: Bool) {
        if let known = self.classIDs[proxy] { return (known, true) }
        let id = new()
        self.classIDs[proxy] = id
        return (id, false)
    }
}

/// A query with its class as [MS-WMIO] sends it.
struct DCOMPlan: Sendable {
    let plan: WMIPlan
    let wmiClass: WMIOClass
    let classPart: [UInt8]
    /// Where the class's properties stand in the plan's class.
    private let columns: [Int]
    private let quirks: Quirks

    init(_ plan: WMIPlan, quirks: Quirks) {
        self.plan = plan
        self.quirks = quirks
        (self.wmiClass, self.columns) = WMIOSchema.wmioClass(for: plan, quirks: quirks)
        self.classPart = self.wmiClass.encodedPart(
            slack: quirks.leavesGarbage ? Quirks.heapSlack : 0,
            garbage: quirks.leavesGarbage ? Quirks.classGarbage : 0
        )
    }

    /// What differs between hosts in the encoding of a class.
    struct Quirks: Sendable, Hashable {
        /// Classes declare default values, and instances inherit them.
        var inheritsDefaults = false
        /// Bytes that mean nothing lie in heaps, behind classes and behind instances.
        var leavesGarbage = false
        /// A query with a column list is not told the superclasses.
        var hidesSuperclasses = false

        // As many as captured objects of Windows and the examples of [MS-WMIO] have.
        static let heapSlack = 6
        static let classGarbage = 501
        static let instanceGarbage = 3
    }

    func instance(_ row: Int, host: HostSnapshot) -> WMIOInstance {
        WMIOInstance(
            wmiClass: self.wmiClass,
            origin: WMIOInstance.Origin(server: host.profile.computerName, namespace: #"ROOT\CIMV2"#),
            values: self.columns.map { self.plan.wmiClass.properties[$0].value(host, row) },
            garbage: self.quirks.leavesGarbage ? Quirks.instanceGarbage : 0
        )
    }
}

/// Codes of [MS-WMI] 2.2.11 and of winerror.h that a host answers with.
enum WBEMStatus {
    static let ok: UInt32 = 0
    /// WBEM_S_FALSE
    static let noMore: UInt32 = 1
    /// WBEM_S_TIMEDOUT
    static let timedOut: UInt32 = 0x0004_0004
    static let failed: UInt32 = 0x8004_1001
    static let accessDenied: UInt32 = 0x8004_1003
    static let providerFailure: UInt32 = 0x8004_1004
    static let invalidParameter: UInt32 = 0x8004_1008
    static let notSupported: UInt32 = 0x8004_100C
    static let invalidNamespace: UInt32 = 0x8004_100E
    static let invalidClass: UInt32 = 0x8004_1010
    static let invalidQuery: UInt32 = 0x8004_1017
    static let invalidQueryType: UInt32 = 0x8004_1018
    static let invalidOperation: UInt32 = 0x8004_1016
    static let quotaViolation: UInt32 = 0x8004_106C
}
