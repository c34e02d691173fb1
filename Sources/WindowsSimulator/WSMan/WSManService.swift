import Synchronization
import WinRM

/// What a host answers to WS-Management: a function of the request, the host and the instant.
struct WSManService: Sendable {
    /// Classes of `root/cimv2` lie below this.
    static let resourcePrefix = WSManNames.wmiResourcePrefix + "root/cimv2/"
    /// Windows gives no more items in one answer (MaxBatchItems).
    static let maximumBatchItems = 32_000
    /// An enumeration that nobody pulls is dropped after these seconds (EnumerationTimeoutms of 240,000).
    static let enumerationTimeout = 240.0
    /// MaxConcurrentOperationsPerUser since Windows Server 2012.
    static let concurrentOperations = 1_500
    /// Room for everything around an answer's items, in bytes.
    private static let envelopeOverhead = 1_500
    /// Plans that are kept; the queries of a client hardly vary.
    private static let maximumCachedPlans = 512

    /// An answer before it is sealed.
    struct Reply: Sendable {
        var status: Int
        var body: [UInt8]
    }

    private final class PlanCache: Sendable {
        let plans = Mutex<[String: Result<WMIPlan, WQLError>]>([:])
    }

    private let cache = PlanCache()

    /// The class that a request is about, as far as it can be told.
    func className(of request: WSManIncoming) -> String? {
        guard case .enumerate(let enumerate) = request.operation else {
            return request.operation == .get ? Self.resourceClass(request.resourceURI) : nil
        }
        if let filter = enumerate.filter, case .success(let plan) = self.plan(for: filter) { return plan.wmiClass.name }
        return Self.resourceClass(request.resourceURI)
    }

    /// Answers a request with values of one instant, that of the snapshot.
    func answer(
        _ request: WSManIncoming,
        host: SimulatedHost,
        user: String,
        snapshot: HostSnapshot,
        faults: ActiveFaults
    ) -> Reply {
        do throws(WSManFaultReply) {
            let body = try self.body(request, host: host, user: user, snapshot: snapshot, faults: faults)
            return Reply(status: 200, body: body)
        } catch {
            return Self.fault(error, to: request, host: host)
        }
    }

    static func fault(_ fault: WSManFaultReply, to request: WSManIncoming?, host: SimulatedHost) -> Reply {
        let body = fault.encoded(relatesTo: request?.messageID ?? "", machine: host.profile.fullyQualifiedName)
        return Reply(status: 500, body: body)
    }

    private func body(
        _ request: WSManIncoming,
        host: SimulatedHost,
        user: String,
        snapshot: HostSnapshot,
        faults: ActiveFaults
    ) throws(WSManFaultReply) -> [UInt8] {
        if case .identify = request.operation {
            return Self.identify(product: "OS: \(host.profile.release.version) SP: 0.0 Stack: 3.0")
        }
        if let size = request.maximumEnvelopeSize, size < WSManRequest.minimumEnvelopeSize {
            throw .encodingLimit
        }
        if faults.contains(.accessDenied) { throw .accessDenied }
        switch request.operation {
        case .identify, .unsupported:
            throw .unsupportedAction(request.action)
        case .enumerate(let enumerate):
            return try self.enumerate(enumerate, request, host: host, user: user, snapshot: snapshot, faults: faults)
        case .pull(let context, let maximumElements):
            return try self.pull(context, maximumElements, request, host: host, user: user, now: snapshot.time)
        case .release(let context):
            guard host.take(context, user: user, now: snapshot.time) != nil else { throw .unknownContext }
            return WSManEnvelope.released(relatesTo: request.messageID)
        case .get:
            return try self.get(request, host: host, snapshot: snapshot, faults: faults)
        }
    }

    static func identify(product: String) -> [UInt8] {
        Array(
            (#"<s:Envelope xml:lang="en-US" xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header/><s:Body>"#
                + #"<wsmid:IdentifyResponse xmlns:wsmid="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd">"#
                + "<wsmid:ProtocolVersion>http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd</wsmid:ProtocolVersion>"
                + "<wsmid:ProductVendor>Microsoft Corporation</wsmid:ProductVendor>"
                + "<wsmid:ProductVersion>\(product)</wsmid:ProductVersion>"
                + "</wsmid:IdentifyResponse></s:Body></s:Envelope>").utf8
        )
    }

    // MARK: Enumerate and Pull

    private func enumerate(
        _ enumerate: WSManIncoming.Enumerate,
        _ request: WSManIncoming,
        host: SimulatedHost,
        user: String,
        snapshot: HostSnapshot,
        faults: ActiveFaults
    ) throws(WSManFaultReply) -> [UInt8] {
        if let mode = enumerate.mode, mode != "EnumerateObject" { throw .enumerationModeUnsupported }
        let plan = try self.plan(for: enumerate, request)
        try Self.check(plan, text: enumerate.filter ?? plan.wmiClass.name, faults: faults)
        let limit = faults.first { if case .quota(let limit) = $0 { limit } else { nil } } ?? Self.concurrentOperations
        // The enumeration itself is one operation.
        guard host.openEnumerations(of: user, now: snapshot.time) < limit else { throw .concurrentOperations }
        host.count { $0.queries[plan.wmiClass.name.lowercased(), default: 0] += 1 }

        var enumeration = SimulatedHost.Enumeration(
            plan: plan,
            snapshot: snapshot,
            remaining: plan.instances(of: snapshot)[...],
            user: user,
            expires: snapshot.time.adding(seconds: Self.enumerationTimeout)
        )
        var items: [UInt8]?
        if enumerate.isOptimized {
            // Recorded on 2008 R2 and 2012: one item first, however many the client allows.
            let isReluctant = host.profile.release.answersOneItemFirst && enumeration.remaining.count > 1
            let maximum = isReluctant ? 1 : enumerate.maximumElements
            items = try Self.items(of: &enumeration, maximum: maximum, envelope: request.maximumEnvelopeSize)
        }
        var context: String?
        if items == nil || !enumeration.remaining.isEmpty {
            context = host.open(enumeration, limit: limit, now: snapshot.time)
            guard context != nil else { throw .concurrentOperations }
        }
        return WSManEnvelope.enumerated(relatesTo: request.messageID, context: context, items: items)
    }

    private func pull(
        _ context: String,
        _ maximumElements: Int,
        _ request: WSManIncoming,
        host: SimulatedHost,
        user: String,
        now: FileTime
    ) throws(WSManFaultReply) -> [UInt8] {
        guard var enumeration = host.take(context, user: user, now: now) else { throw .unknownContext }
        let items = try Self.items(of: &enumeration, maximum: maximumElements, envelope: request.maximumEnvelopeSize)
        let isOver = enumeration.remaining.isEmpty
        if !isOver {
            enumeration.expires = now.adding(seconds: Self.enumerationTimeout)
            host.putBack(enumeration, context: context)
        }
        return WSManEnvelope.pulled(relatesTo: request.messageID, context: isOver ? nil : context, items: items)
    }

    /// Writes items until there are none, enough of them, or the envelope is full.
    private static func items(
        of enumeration: inout SimulatedHost.Enumeration,
        maximum: Int,
        envelope: Int?
    ) throws(WSManFaultReply) -> [UInt8] {
        let writer = InstanceWriter(plan: enumeration.plan, host: enumeration.snapshot)
        let room = (envelope ?? 153_600) - Self.envelopeOverhead
        var buffer = XMLBuffer(capacity: 4_096)
        var count = 0
        while count < min(maximum, Self.maximumBatchItems), let instance = enumeration.remaining.first {
            var item = XMLBuffer(capacity: 2_048)
            writer.write(instance, into: &item)
            if buffer.bytes.count + item.bytes.count > room {
                guard count > 0 else { throw .itemTooLarge }
                break
            }
            buffer.raw(item.bytes)
            enumeration.remaining.removeFirst()
            count += 1
        }
        return buffer.bytes
    }

    // MARK: Get

    private func get(
        _ request: WSManIncoming,
        host: SimulatedHost,
        snapshot: HostSnapshot,
        faults: ActiveFaults
    ) throws(WSManFaultReply) -> [UInt8] {
        guard let name = Self.resourceClass(request.resourceURI), let wmiClass = WMIRepository.find(name) else {
            throw .unknownResource(request.resourceURI)
        }
        let plan = WMIPlan(allOf: wmiClass)
        try Self.check(plan, text: name, faults: faults)
        let matches = plan.instances(of: snapshot).filter { instance in
            request.selectors.allSatisfy { name, text in
                guard let position = wmiClass.position(of: name) else { return false }
                let value = wmiClass.properties[position].value(snapshot, instance)
                return WQLQuery.Operator.equal.holds(value, .string(text))
            }
        }
        guard matches.count == 1, let match = matches.first else { throw .selectorsNeeded }
        host.count { $0.queries[name.lowercased(), default: 0] += 1 }
        var buffer = XMLBuffer(capacity: 4_096)
        InstanceWriter(plan: plan, host: snapshot).write(match, into: &buffer)
        return WSManEnvelope.got(relatesTo: request.messageID, instance: buffer.bytes)
    }

    // MARK: Plans

    /// The class name of a resource URI in `root/cimv2`; nil for other resources.
    private static func resourceClass(_ uri: String) -> String? {
        guard uri.lowercased().hasPrefix(Self.resourcePrefix) else { return nil }
        let name = uri.dropFirst(Self.resourcePrefix.count)
        return name.isEmpty || name.contains("/") ? nil : String(name)
    }

    private func plan(
        for enumerate: WSManIncoming.Enumerate,
        _ request: WSManIncoming
    ) throws(WSManFaultReply) -> WMIPlan {
        guard let name = Self.resourceClass(request.resourceURI) else { throw .unknownResource(request.resourceURI) }
        guard let filter = enumerate.filter else {
            guard name != "*" else { throw .wildcardNeedsFilter }
            guard let wmiClass = WMIRepository.find(name) else { throw .unknownResource(request.resourceURI) }
            return WMIPlan(allOf: wmiClass)
        }
        guard enumerate.filterDialect == WSManNames.wqlDialect else { throw .dialectUnavailable }
        guard name == "*" else { throw .wildcardNeedsFilter }
        switch self.plan(for: filter) {
        case .success(let plan): return plan
        case .failure(let error): throw .query(error, text: filter)
        }
    }

    private func plan(for query: String) -> Result<WMIPlan, WQLError> {
        if let known = self.cache.plans.withLock({ $0[query] }) { return known }
        let plan = Result { () throws(WQLError) in try WMIPlan(query) }
        self.cache.plans.withLock { plans in
            if plans.count >= Self.maximumCachedPlans { plans.removeAll() }
            plans[query] = plan
        }
        return plan
    }

    private static func check(_ plan: WMIPlan, text: String, faults: ActiveFaults) throws(WSManFaultReply) {
        let name = plan.wmiClass.name
        if faults.isMissing(name) { throw .query(.invalidClass(name), text: text) }
        if faults.providerFails(name) { throw .providerFailure }
    }
}

extension WSManFaultReply: Error {}
