import Synchronization

@testable import DCOM

/// The host's methods.
extension ScriptedHost {
    static func name(_ interface: RPCInterface, _ opnum: UInt16) -> String {
        switch (interface, opnum) {
        case (.remoteSCMActivator, 4): "RemoteCreateInstance"
        case (.objectExporter, 1): "SimplePing"
        case (.objectExporter, 2): "ComplexPing"
        case (.objectExporter, 5): "ServerAlive2"
        case (.remUnknown, 3): "RemQueryInterface"
        case (.remUnknown, 4): "RemAddRef"
        case (.remUnknown, 5): "RemRelease"
        case (.wbemLevel1Login, 6): "NTLMLogin"
        case (.wbemServices, 20): "ExecQuery"
        case (.enumWbemClassObject, 4): "Next"
        case (.wbemFetchSmartEnum, 3): "GetSmartEnum"
        case (.wbemWCOSmartEnum, 3): "SmartNext"
        default: "unknown"
        }
    }

    static func failure(_ method: String, _ result: HRESULT) -> [UInt8] {
        switch method {
        case "RemoteCreateInstance": RemoteCreateInstance.Response(reply: nil, result: result).stub
        case "SimplePing": SimplePing.Response(status: result).stub
        case "ComplexPing": ComplexPing.Response(set: 0, status: result).stub
        case "ServerAlive2": ServerAlive2.Response(bindings: DualStringArray(), status: result).stub
        case "RemQueryInterface": RemQueryInterface.Response(results: [], result: result).stub
        case "RemAddRef": RemAddRef.Response(results: [], result: result).stub
        case "RemRelease": RemRelease.Response(result: result).stub
        case "Next": EnumNext.Response(maximum: 0, objects: [], result: result).stub
        case "SmartNext": SmartNext.Response(returned: 0, buffer: [], result: result).stub
        default: InterfaceResponse(reference: nil, result: result).stub
        }
    }

    func perform(_ method: String, object: GUID?, stub: [UInt8], isSignedIn: Bool) throws -> [UInt8] {
        switch method {
        case "ServerAlive2":
            return ServerAlive2.Response(bindings: ORPCFixtures.bindings).stub
        case "SimplePing", "ComplexPing":
            return try self.ping(method, stub: stub, isSignedIn: isSignedIn)
        default:
            break
        }
        guard isSignedIn else { throw RPCError.accessDenied }
        switch method {
        case "RemoteCreateInstance":
            return try self.activate(stub)
        case "RemRelease":
            let request = try RemRelease.Request(stub: stub)
            for reference in request.references { self.release(reference) }
            return RemRelease.Response().stub
        case "RemAddRef":
            let request = try RemAddRef.Request(stub: stub)
            self.state.withLock { state in
                for reference in request.references {
                    state.references[reference.ipid, default: 0] += Int(reference.publicReferences)
                }
            }
            return RemAddRef.Response(results: request.references.map { _ in .ok }).stub
        case "RemQueryInterface":
            let request = try RemQueryInterface.Request(stub: stub)
            let reference = self.newReference(count: request.references)
            self.move(request.ipid, to: reference.ipid)
            return RemQueryInterface.Response(results: [.init(result: .ok, reference: reference)]).stub
        case "NTLMLogin":
            _ = try NTLMLogin.Request(stub: stub)
            return self.interface(.wbemServices, self.newReference())
        case "ExecQuery":
            _ = try ExecQuery.Request(stub: stub)
            let reference = self.newReference()
            self.state.withLock { state in
                state.enumerators[reference.ipid] = state.queries.isEmpty ? [[1]] : state.queries.removeFirst()
            }
            return self.interface(.enumWbemClassObject, reference)
        case "GetSmartEnum":
            let reference = self.newReference()
            if let object { self.move(object, to: reference.ipid) }
            return self.interface(.wbemWCOSmartEnum, reference)
        case "Next":
            return try self.next(object, EnumNext.Request(stub: stub))
        case "SmartNext":
            return try self.smartNext(object, SmartNext.Request(stub: stub))
        default:
            throw RPCError.fault(.operationRangeError, didNotExecute: true)
        }
    }

    // MARK: - References

    func newReference(count: UInt32? = nil) -> StandardReference {
        self.state.withLock { state in
            let number = state.nextIPID
            state.nextIPID += 1
            let reference = StandardReference(
                publicReferences: count ?? state.publicReferences,
                oxid: 7,
                oid: UInt64(1000 + number),
                ipid: GUID(number, 0, 0, 0)
            )
            state.references[reference.ipid, default: 0] += Int(reference.publicReferences)
            return reference
        }
    }

    private func release(_ reference: InterfaceReferenceCount) {
        self.state.withLock { state in
            let left = state.references[reference.ipid, default: 0] - Int(reference.publicReferences)
            if left < 0 { state.excessReleases += 1 }
            state.references[reference.ipid] = left > 0 ? left : nil
        }
    }

    /// Another interface of the same enumerator.
    private func move(_ old: GUID, to new: GUID) {
        self.state.withLock { $0.enumerators[new] = $0.enumerators[old] }
    }

    private func interface(_ interface: RPCInterface, _ reference: StandardReference) -> [UInt8] {
        let object = ObjectReference(interface: interface.uuid, kind: .standard(reference, DualStringArray()))
        return InterfaceResponse(reference: object).stub
    }

    private func activate(_ stub: [UInt8]) throws -> [UInt8] {
        let request = try RemoteCreateInstance.Request(stub: stub)
        guard request.activation.classID == ClassID.wbemLevel1Login else {
            return RemoteCreateInstance.Response(reply: nil, result: .classNotRegistered).stub
        }
        let (bindings, version) = self.state.withLock { ($0.bindings, $0.version) }
        let reference = ObjectReference(
            interface: RPCInterface.wbemLevel1Login.uuid,
            kind: .standard(self.newReference(), DualStringArray())
        )
        let reply = ActivationReply(
            oxid: 7,
            bindings: DualStringArray(
                stringBindings: [StringBinding(tower: StringBinding.namedPipe, address: "HOST[\\PIPE\\x]")]
                    + bindings.map { text in
                        let parts = text.split(separator: "PORT", omittingEmptySubsequences: false)
                        return StringBinding(
                            tower: StringBinding.tcp,
                            address: parts.joined(separator: "\(Self.exporterPort)")
                        )
                    }
            ),
            remUnknown: Self.remUnknown,
            authenticationHint: 4,
            version: version,
            interfaces: [.init(interface: RPCInterface.wbemLevel1Login.uuid, reference: reference)]
        )
        return RemoteCreateInstance.Response(reply: reply).stub
    }

    // MARK: - Rows

    private func page(of enumerator: GUID?) throws -> (rows: [UInt32], isEnd: Bool) {
        try self.state.withLock { state in
            guard let enumerator, var pages = state.enumerators[enumerator] else {
                throw RPCError.fault(.invalidObject, didNotExecute: true)
            }
            let page = pages.isEmpty ? [] : pages.removeFirst()
            state.enumerators[enumerator] = pages
            return (page, pages.isEmpty && (state.lastPageEnds || page.isEmpty))
        }
    }

    private func next(_ object: GUID?, _ request: EnumNext.Request) throws -> [UInt8] {
        let (rows, isEnd) = try self.page(of: object)
        let objects = rows.map { value in
            ObjectReference(
                interface: RPCInterface.wbemClassObject.uuid,
                kind: .custom(
                    classID: ClassID.wbemClassObject,
                    extensionSize: 0,
                    data: WMIOBuilder.instance(CIMType.uint32.rawValue, le(value))[...]
                )
            )
        }
        return EnumNext.Response(maximum: request.count, objects: objects, result: isEnd ? .wbemFalse : .ok).stub
    }

    private func smartNext(_ object: GUID?, _ request: SmartNext.Request) throws -> [UInt8] {
        let (rows, isEnd) = try self.page(of: object)
        let packets = rows.enumerated().map { index, value in
            let row = WMIOBuilder(properties: [.init(name: "Value", type: CIMType.uint32.rawValue, slot: le(value))])
            return index == 0
                ? packet(WMIOFormat.instanceObject, identifier: 1, row.instanceBlock)
                : packet(WMIOFormat.instanceWithoutClassObject, identifier: 1, row.instanceWithoutClassBlock)
        }
        return SmartNext.Response(
            returned: UInt32(rows.count),
            buffer: rows.isEmpty ? [] : objectArray(packets)[...],
            result: isEnd ? .wbemFalse : .ok
        ).stub
    }

    // MARK: - Pings

    private func ping(_ method: String, stub: [UInt8], isSignedIn: Bool) throws -> [UInt8] {
        if method == "SimplePing" {
            let request = try SimplePing.Request(stub: stub)
            return self.state.withLock { state in
                state.pings.append(.simple(request))
                guard isSignedIn || state.takesAnonymousPings else {
                    return SimplePing.Response(status: .win32AccessDenied).stub
                }
                return SimplePing.Response(status: state.pingSets[request.set] == nil ? .invalidSet : .ok).stub
            }
        }
        let request = try ComplexPing.Request(stub: stub)
        return self.state.withLock { state in
            state.pings.append(.complex(request))
            guard isSignedIn || state.takesAnonymousPings else {
                return ComplexPing.Response(set: 0, status: .win32AccessDenied).stub
            }
            let set = request.set == 0 ? UInt64(state.pingSets.count + 1) : request.set
            guard request.set == 0 || state.pingSets[set] != nil else {
                return ComplexPing.Response(set: set, status: .invalidSet).stub
            }
            state.pingSets[set, default: []].formUnion(request.added)
            state.pingSets[set]?.subtract(request.removed)
            return ComplexPing.Response(set: set).stub
        }
    }
}
