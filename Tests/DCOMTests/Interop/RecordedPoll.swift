@testable import DCOM

/// All that a client did, as our codecs understand it. Calls are told apart by the interface of the object that they
/// name, as a server does it: aiowmi uses one presentation context for all of them.
struct RecordedPoll {
    struct Query {
        var request: ExecQuery.Request
        var response: InterfaceResponse
        var rows: [WMIObject] = []
        var batches: [UInt32] = []
        var isSmart = false
        var lastResult = HRESULT.ok
    }

    private(set) var activations: [(request: RemoteCreateInstance.Request, reply: ActivationReply)] = []
    private(set) var logins: [(request: NTLMLogin.Request, response: InterfaceResponse)] = []
    private(set) var queries: [Query] = []
    private(set) var interfaceQueries: [(request: RemQueryInterface.Request, response: RemQueryInterface.Response)] = []
    private(set) var releases: [InterfaceReferenceCount] = []
    private(set) var levels: Set<RPCAuthLevel> = []
    private(set) var mostFragments = 0
    /// What each IPID is.
    private(set) var interfaces: [GUID: GUID] = [:]
    private var queryOfEnumerator: [GUID: Int] = [:]
    private var decoders: [Int: WMIObjectDecoder] = [:]

    init(_ conversations: [RecordedConversation]) throws {
        for call in conversations.flatMap(\.calls) { try self.add(call) }
    }

    private mutating func add(_ call: RecordedCall) throws {
        self.levels.insert(call.level)
        self.mostFragments = max(self.mostFragments, call.fragments)
        let interface = call.object.flatMap { self.interfaces[$0] } ?? call.bound.uuid
        switch (interface, call.opnum) {
        case (RPCInterface.remoteSCMActivator.uuid, RemoteCreateInstance.opnum):
            let response = try Self.both(RemoteCreateInstance.Response.self, call.response)
            guard let reply = response.reply else { throw Self.missing("activation's answer") }
            self.activations.append((try Self.both(RemoteCreateInstance.Request.self, call.request), reply))
            self.interfaces[reply.remUnknown] = RPCInterface.remUnknown.uuid
            for each in reply.interfaces { _ = try self.learn(each.reference) }
        case (RPCInterface.wbemLevel1Login.uuid, NTLMLogin.opnum):
            let response = try Self.both(NTLMLogin.Response.self, call.response)
            _ = try self.learn(response.reference)
            self.logins.append((try Self.both(NTLMLogin.Request.self, call.request), response))
        case (RPCInterface.wbemServices.uuid, ExecQuery.opnum):
            let response = try Self.both(ExecQuery.Response.self, call.response)
            self.queryOfEnumerator[try self.learn(response.reference)] = self.queries.count
            self.decoders[self.queries.count] = WMIObjectDecoder()
            let request = try Self.both(ExecQuery.Request.self, call.request)
            self.queries.append(Query(request: request, response: response))
        case (RPCInterface.enumWbemClassObject.uuid, EnumNext.opnum):
            let request = try Self.both(EnumNext.Request.self, call.request)
            let response = try Self.both(EnumNext.Response.self, call.response)
            let data = try response.objects.map { object in
                guard case .custom(ClassID.wbemClassObject, _, let data) = object.kind else {
                    throw Self.missing("an object by value")
                }
                return data
            }
            try self.add(call.object, request.count, response.result) { decoder in
                try data.map { try decoder.decode($0) }
            }
        case (RPCInterface.wbemWCOSmartEnum.uuid, SmartNext.opnum):
            let request = try Self.both(SmartNext.Request.self, call.request)
            let response = try Self.both(SmartNext.Response.self, call.response)
            try self.add(call.object, request.count, response.result, isSmart: true) { decoder in
                response.buffer.isEmpty ? [] : try decoder.decode(objectArray: response.buffer)
            }
        case (RPCInterface.wbemFetchSmartEnum.uuid, GetSmartEnum.opnum):
            _ = try Self.both(GetSmartEnum.Request.self, call.request)
            let response = try Self.both(GetSmartEnum.Response.self, call.response)
            let made = try self.learn(response.reference)
            self.queryOfEnumerator[made] = call.object.flatMap { self.queryOfEnumerator[$0] }
        case (RPCInterface.remUnknown.uuid, RemQueryInterface.opnum):
            let request = try Self.both(RemQueryInterface.Request.self, call.request)
            let response = try Self.both(RemQueryInterface.Response.self, call.response)
            for (interface, result) in zip(request.interfaces, response.results) where result.result == .ok {
                self.interfaces[result.reference.ipid] = interface
                self.queryOfEnumerator[result.reference.ipid] = self.queryOfEnumerator[request.ipid]
            }
            self.interfaceQueries.append((request, response))
        case (RPCInterface.remUnknown.uuid, RemRelease.opnum):
            self.releases += try Self.both(RemRelease.Request.self, call.request).references
            guard try Self.both(RemRelease.Response.self, call.response).result == .ok else {
                throw Self.missing("a release that worked")
            }
        default:
            throw RecordedConversation.Failure(description: "operation \(call.opnum) of \(interface)")
        }
    }

    private mutating func add(
        _ enumerator: GUID?,
        _ count: UInt32,
        _ result: HRESULT,
        isSmart: Bool = false,
        _ decode: (inout WMIObjectDecoder) throws -> [WMIObject]
    ) throws {
        guard let enumerator, let index = self.queryOfEnumerator[enumerator], var decoder = self.decoders[index] else {
            throw Self.missing("the query of an enumerator")
        }
        self.queries[index].rows += try decode(&decoder)
        self.decoders[index] = decoder
        self.queries[index].batches.append(count)
        self.queries[index].isSmart = isSmart
        self.queries[index].lastResult = result
    }

    private mutating func learn(_ reference: ObjectReference?) throws -> GUID {
        guard case .standard(let standard, _)? = reference?.kind, let interface = reference?.interface else {
            throw Self.missing("a standard OBJREF")
        }
        self.interfaces[standard.ipid] = interface
        return standard.ipid
    }

    /// Decodes a stub; what our encoder makes of it must be understood as the same.
    private static func both<Value: NDRCodable>(_: Value.Type, _ stub: [UInt8]) throws -> Value {
        let value = try Value(stub: stub)
        guard try Value(stub: value.stub) == value else {
            throw RecordedConversation.Failure(description: "\(Value.self) is another one after encoding")
        }
        return value
    }

    private static func missing(_ what: String) -> RecordedConversation.Failure {
        RecordedConversation.Failure(description: "\(what) is missing")
    }
}
