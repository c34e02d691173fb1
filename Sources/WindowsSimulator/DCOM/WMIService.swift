import DCOM

/// WMI's own interfaces: what one object of a client does, [MS-WMI] 3.1.4.
struct WMIService: Sendable {
    /// Methods of IWbemLevel1Login besides NTLMLogin, [MS-WMI] 3.1.4.1.
    private enum Login: UInt16 {
        case establishPosition = 3
        case requestChallenge = 4
        case wbemLogin = 5
    }

    /// Methods of IEnumWbemClassObject besides Next, [MS-WMI] 3.1.4.4.
    private enum Enumerator: UInt16 {
        case reset = 3
        case nextAsync = 5
        case clone = 6
        case skip = 7
    }

    /// Null results of the methods of IWbemServices that are not offered, from OpenNamespace on, [MS-WMI] 3.1.4.3.
    private static let nullResults = [2, 0, 1, 2, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 2, 0]
    private static let firstServicesOpnum = 3
    private static let namespace = #"root\cimv2"#
    private static let queryLanguage = "wql"
    /// Milliseconds that mean to wait for ever, WBEM_INFINITE.
    private static let infinite = UInt32.max
    /// Objects in one answer, whatever the client asks for.
    private static let maximumBatch = 10_000

    let view: DCOMHostView
    let target: DCOMExporter.Target

    private var host: SimulatedHost { self.view.host }

    func answer(_ call: DCOMCall) throws(NDRError) -> DCOMReply {
        switch self.target.kind {
        case .login: try self.login(call)
        case .services: try self.services(call)
        case .enumerator(let id) where self.target.interface == RPCInterface.wbemFetchSmartEnum.uuid:
            call.opnum == GetSmartEnum.opnum ? self.smartEnumerator(id, call) : .fault(.operationRangeError)
        case .enumerator(let id): try self.enumerator(id, call)
        case .smartEnumerator(let id):
            call.opnum == SmartNext.opnum ? try self.smartNext(id, call) : .fault(.operationRangeError)
        }
    }

    private func interface(
        _ interface: RPCInterface,
        _ kind: DCOMExporter.Kind,
        _ call: DCOMCall
    ) -> DCOMReply {
        let reference = self.host.withExporter {
            $0.export(kind, interface: interface.uuid, client: call.client, now: call.now)
        }
        return .answer(InterfaceResponse(reference: self.view.reference(interface.uuid, reference)))
    }

    private static func noInterface(_ status: UInt32) -> DCOMReply {
        .answer(InterfaceResponse(reference: nil, result: HRESULT(rawValue: status)))
    }

    /// An answer of so many null pointers and a status.
    private static func nothing(_ count: Int, _ status: UInt32) -> DCOMReply {
        var writer = NDRWriter()
        ORPCThat().encode(to: &writer)
        for _ in 0..<count { writer.pointer(isNull: true) }
        writer.uint32(status)
        return .stub(writer.bytes)
    }

    // MARK: IWbemLevel1Login

    private func login(_ call: DCOMCall) throws(NDRError) -> DCOMReply {
        if call.opnum == NTLMLogin.opnum { return try self.ntlmLogin(NTLMLogin.Request(stub: call.stub), call) }
        switch Login(rawValue: call.opnum) {
        case .establishPosition:
            // The locale's version is zero; a null pointer has the same four bytes.
            return Self.nothing(1, WBEMStatus.ok)
        case .requestChallenge:
            // A nonce of 16 bytes that means nothing.
            return Self.nothing(4, WBEMStatus.notSupported)
        case .wbemLogin:
            return Self.nothing(1, HRESULT.notImplemented.rawValue)
        case nil:
            return .fault(.operationRangeError)
        }
    }

    private func ntlmLogin(_ request: NTLMLogin.Request, _ call: DCOMCall) -> DCOMReply {
        if self.view.faults.contains(.namespaceDenied) { return Self.noInterface(WBEMStatus.accessDenied) }
        guard Self.normalized(request.networkResource) == Self.namespace else {
            return Self.noInterface(WBEMStatus.invalidNamespace)
        }
        return self.interface(.wbemServices, .services(namespace: Self.namespace), call)
    }

    /// `//./root/cimv2`, `\\HOST\root\cimv2` and `root/cimv2` are the same.
    private static func normalized(_ resource: String) -> String {
        var parts = resource.lowercased().split(omittingEmptySubsequences: false) { $0 == "/" || $0 == "\\" }
        if parts.count > 3, parts[0].isEmpty, parts[1].isEmpty { parts.removeFirst(3) }
        return parts.joined(separator: "\\")
    }

    // MARK: IWbemServices

    private func services(_ call: DCOMCall) throws(NDRError) -> DCOMReply {
        guard call.opnum != ExecQuery.opnum else {
            return self.execQuery(try ExecQuery.Request(stub: call.stub), call)
        }
        let position = Int(call.opnum) - Self.firstServicesOpnum
        guard Self.nullResults.indices.contains(position) else { return .fault(.operationRangeError) }
        return Self.nothing(Self.nullResults[position], WBEMStatus.notSupported)
    }

    private func execQuery(_ request: ExecQuery.Request, _ call: DCOMCall) -> DCOMReply {
        let faults = self.view.faults
        if faults.contains(.stalledConnection(atQuery: true)) { return .never }
        if faults.contains(.accessDenied) { return Self.noInterface(WBEMStatus.accessDenied) }
        guard request.language.lowercased() == Self.queryLanguage else {
            return Self.noInterface(WBEMStatus.invalidQueryType)
        }
        if let limit = faults.first({ if case .quota(let limit) = $0 { limit } else { nil } }),
            self.host.withExporter({ $0.openEnumerations }) >= limit
        {
            return Self.noInterface(WBEMStatus.quotaViolation)
        }
        let plan = self.view.fleet.dcomPlan(for: request.query, quirks: self.host.quirks.classes)
        var status = WBEMStatus.ok
        switch plan {
        case .failure(let error): status = error.code
        case .success(let plan):
            let name = plan.wmiClass.name
            self.host.count { $0.queries[name.lowercased(), default: 0] += 1 }
            if faults.isMissing(name) { status = WBEMStatus.invalidClass }
            if faults.providerFails(name) { status = WBEMStatus.providerFailure }
        }
        let delay = faults.delay(for: (try? plan.get())?.wmiClass.name)
        let isImmediate = request.flags & ExecQuery.returnImmediately != 0
        if !isImmediate {
            // The client waits for the first object here, and hears of errors here.
            let ready = call.arrival.adding(seconds: delay)
            if call.now < ready { return .wait(until: ready) }
            if status != WBEMStatus.ok { return Self.noInterface(status) }
        }
        let id = self.begin(
            status == WBEMStatus.ok ? try? plan.get() : nil,
            failure: status,
            delay: isImmediate ? delay : 0,
            isForwardOnly: request.flags & ExecQuery.forwardOnly != 0,
            now: call.now
        )
        return self.interface(.enumWbemClassObject, .enumerator(id), call)
    }

    private func begin(
        _ plan: DCOMPlan?,
        failure: UInt32,
        delay: Double,
        isForwardOnly: Bool,
        now: FileTime
    ) -> DCOMEnumeration.ID {
        let snapshot = self.view.fleet.snapshot(of: self.host, at: now)
        var enumeration = DCOMEnumeration(
            plan: plan,
            snapshot: snapshot,
            rows: plan?.plan.instances(of: snapshot) ?? [],
            isForwardOnly: isForwardOnly
        )
        let faults = self.view.faults
        enumeration.ready = now.adding(seconds: delay)
        if failure != WBEMStatus.ok { enumeration.failure = DCOMEnumeration.Failure(rows: 0, code: failure) }
        if let plan, let fault = faults.enumerationFailure(of: plan.wmiClass.name) { enumeration.failure = fault }
        if faults.contains(.singleRows) { enumeration.maximumRows = 1 }
        enumeration.tellsTimeoutFirst = faults.contains(.timedOutFirst)
        return self.host.withExporter { $0.begin(enumeration) }
    }

    // MARK: IEnumWbemClassObject

    private func enumerator(_ id: DCOMEnumeration.ID, _ call: DCOMCall) throws(NDRError) -> DCOMReply {
        if call.opnum == EnumNext.opnum { return try self.next(id, EnumNext.Request(stub: call.stub), call) }
        switch Enumerator(rawValue: call.opnum) {
        case .reset:
            let isReset = self.host.withExporter { $0[id]?.reset() ?? false }
            return Self.nothing(0, isReset ? WBEMStatus.ok : WBEMStatus.invalidOperation)
        case .nextAsync:
            // Only with a sink, which is never offered to these hosts.
            return Self.nothing(0, WBEMStatus.notSupported)
        case .clone:
            return self.clone(id, call)
        case .skip:
            return try self.skip(id, call)
        case nil:
            return .fault(.operationRangeError)
        }
    }

    private func clone(_ id: DCOMEnumeration.ID, _ call: DCOMCall) -> DCOMReply {
        let copy = self.host.withExporter { exporter -> DCOMEnumeration.ID? in
            guard let enumeration = exporter[id], !enumeration.isForwardOnly else { return nil }
            return exporter.begin(enumeration)
        }
        guard let copy else { return Self.noInterface(WBEMStatus.invalidOperation) }
        return self.interface(.enumWbemClassObject, .enumerator(copy), call)
    }

    private func skip(_ id: DCOMEnumeration.ID, _ call: DCOMCall) throws(NDRError) -> DCOMReply {
        var reader = NDRReader(call.stub)
        _ = try ORPCThis(from: &reader)
        let timeout = try reader.uint32()
        let count = try reader.uint32()
        if let time = self.waits(id, timeout: timeout, call) { return .wait(until: time) }
        let batch = self.take(id, count, now: call.now)
        return Self.nothing(0, batch.status)
    }

    private func next(_ id: DCOMEnumeration.ID, _ request: EnumNext.Request, _ call: DCOMCall) -> DCOMReply {
        if let time = self.waits(id, timeout: request.timeout, call) { return .wait(until: time) }
        guard request.count > 0 else {
            return .answer(
                EnumNext.Response(maximum: 0, objects: [], result: HRESULT(rawValue: WBEMStatus.invalidParameter))
            )
        }
        let batch = self.take(id, request.count, now: call.now)
        let objects = batch.objects { instance, plan in
            ObjectReference(
                interface: RPCInterface.wbemClassObject.uuid,
                kind: .custom(
                    classID: ClassID.wbemClassObject,
                    extensionSize: 0,
                    data: instance.encodingUnit(classPart: plan.classPart)[...]
                )
            )
        }
        return .answer(
            EnumNext.Response(maximum: request.count, objects: objects, result: HRESULT(rawValue: batch.status)),
            isQueryResult: true
        )
    }

    // MARK: IWbemFetchSmartEnum and IWbemWCOSmartEnum

    private func smartEnumerator(_ id: DCOMEnumeration.ID, _ call: DCOMCall) -> DCOMReply {
        self.interface(.wbemWCOSmartEnum, .smartEnumerator(id), call)
    }

    private func smartNext(_ id: DCOMEnumeration.ID, _ call: DCOMCall) throws(NDRError) -> DCOMReply {
        let request = try SmartNext.Request(stub: call.stub)
        if let time = self.waits(id, timeout: request.timeout, call) { return .wait(until: time) }
        guard request.count > 0 else {
            return .answer(
                SmartNext.Response(returned: 0, buffer: [], result: HRESULT(rawValue: WBEMStatus.invalidParameter))
            )
        }
        let batch = self.take(id, request.count, now: call.now, proxy: request.proxy)
        var isKnown = batch.isClassKnown
        let objects = batch.objects { instance, plan in
            defer { isKnown = true }
            return isKnown
                ? WMIObjectArray.Object.instanceWithoutClass(batch.classID, instance.objectBlockWithoutClass)
                : WMIObjectArray.Object.instance(batch.classID, instance.objectBlock(classPart: plan.classPart))
        }
        let buffer = objects.isEmpty ? [] : WMIObjectArray(objects).encoded
        return .answer(
            SmartNext.Response(
                returned: UInt32(objects.count),
                buffer: buffer[...],
                result: HRESULT(rawValue: batch.status)
            ),
            isQueryResult: true
        )
    }

    // MARK: Batches

    /// Rows that a call of Next takes out, with what is needed to write them.
    private struct Batch {
        var rows: [Int] = []
        var status: UInt32
        var plan: DCOMPlan?
        var snapshot: HostSnapshot?
        var classID = GUID.null
        var isClassKnown = false

        func objects<Object>(_ build: (WMIOInstance, DCOMPlan) -> Object) -> [Object] {
            guard let plan = self.plan, let snapshot = self.snapshot else { return [] }
            return self.rows.map { build(plan.instance($0, host: snapshot), plan) }
        }
    }

    private func take(_ id: DCOMEnumeration.ID, _ count: UInt32, now: FileTime, proxy: GUID? = nil) -> Batch {
        self.host.withExporter { exporter in
            guard var enumeration = exporter[id] else { return Batch(status: WBEMStatus.noMore) }
            let next = enumeration.next(min(Int(count), Self.maximumBatch), now: now)
            var batch = Batch(
                rows: next.rows,
                status: next.status,
                plan: enumeration.plan,
                snapshot: enumeration.snapshot
            )
            if let proxy, !batch.rows.isEmpty {
                (batch.classID, batch.isClassKnown) = enumeration.classID(for: proxy) { exporter.newIdentifier() }
            }
            exporter[id] = enumeration
            return batch
        }
    }

    /// When a call must be asked again, because nothing is there yet and its client is patient.
    private func waits(_ id: DCOMEnumeration.ID, timeout: UInt32, _ call: DCOMCall) -> FileTime? {
        guard let ready = self.host.withExporter({ $0[id]?.ready }), call.now < ready else { return nil }
        let end = timeout == Self.infinite ? ready : min(ready, call.arrival.adding(seconds: Double(timeout) / 1_000))
        return call.now < end ? end : nil
    }
}
