import DCOM

/// The object resolver and the activator of a host, at port 135: [MS-DCOM] 3.1.2.5.
struct ResolverService: Sendable {
    static let interfaces = [RPCInterface.objectExporter, .remoteSCMActivator]

    /// Methods of IObjectExporter, [MS-DCOM] 3.1.2.5.1.
    private enum Exporter: UInt16 {
        case resolveOXID = 0
        case simplePing = 1
        case complexPing = 2
        case serverAlive = 3
        case resolveOXID2 = 4
        case serverAlive2 = 5
    }

    let view: DCOMHostView

    func answer(_ call: DCOMCall) -> DCOMReply {
        do throws(NDRError) {
            if call.interface == .objectExporter { return try self.export(call) }
            if call.interface == .remoteSCMActivator { return try self.activate(call) }
            return .fault(.unknownInterface)
        } catch {
            return .fault(.badStubData)
        }
    }

    // MARK: Object exporter

    private func export(_ call: DCOMCall) throws(NDRError) -> DCOMReply {
        guard let method = Exporter(rawValue: call.opnum) else { return .fault(.operationRangeError) }
        let isPing = method == .simplePing || method == .complexPing
        if isPing, self.view.faults.contains(.pingsDenied), call.level < .packetIntegrity {
            return .fault(.accessDenied)
        }
        switch method {
        case .serverAlive:
            return .answer(SimplePing.Response())
        case .serverAlive2:
            return .answer(ServerAlive2.Response(bindings: self.view.hostBindings))
        case .simplePing:
            let set = try SimplePing.Request(stub: call.stub).set
            let isKnown = self.view.host.withExporter { $0.ping(set: set, now: call.now) }
            return .answer(SimplePing.Response(status: isKnown ? .ok : HRESULT.invalidSet))
        case .complexPing:
            let request = try ComplexPing.Request(stub: call.stub)
            let set = self.view.host.withExporter {
                $0.ping(set: request.set, adding: request.added, removing: request.removed, now: call.now)
            }
            return .answer(
                ComplexPing.Response(set: set ?? request.set, status: set == nil ? HRESULT.invalidSet : .ok)
            )
        case .resolveOXID, .resolveOXID2:
            guard call.level >= self.view.minimumLevel else { return .fault(.accessDenied) }
            return try self.resolve(call, withVersion: method == .resolveOXID2)
        }
    }

    /// ResolveOxid and ResolveOxid2, [MS-DCOM] 3.1.2.5.1.1 and 3.1.2.5.1.5.
    private func resolve(_ call: DCOMCall, withVersion: Bool) throws(NDRError) -> DCOMReply {
        var reader = NDRReader(call.stub)
        let oxid = try reader.uint64()
        let exporter = self.view.host.withExporter { ($0.oxid, $0.remUnknown) }
        let isKnown = oxid == exporter.0
        var writer = NDRWriter()
        writer.pointer(isNull: !isKnown)
        if isKnown { self.view.objectBindings.encode(to: &writer) }
        writer.guid(isKnown ? exporter.1 : .null)
        writer.uint32(isKnown ? self.view.authenticationHint : 0)
        if withVersion { COMVersion.current.encode(to: &writer) }
        (isKnown ? HRESULT.ok : HRESULT.invalidOXID).encode(to: &writer)
        return .stub(writer.bytes)
    }

    // MARK: Activation

    private func activate(_ call: DCOMCall) throws(NDRError) -> DCOMReply {
        guard call.opnum == RemoteCreateInstance.opnum else { return .fault(.operationRangeError) }
        guard call.level >= self.view.minimumLevel, call.user != nil else { return .fault(.accessDenied) }
        let request = try RemoteCreateInstance.Request(stub: call.stub)
        if self.view.faults.contains(.activationDenied) {
            return .answer(RemoteCreateInstance.Response(reply: nil, result: HRESULT.accessDenied))
        }
        guard request.activation.classID == ClassID.wbemLevel1Login else {
            return .answer(RemoteCreateInstance.Response(reply: nil, result: HRESULT.classNotRegistered))
        }
        guard request.activation.interfaces.contains(RPCInterface.wbemLevel1Login.uuid) else {
            return .answer(RemoteCreateInstance.Response(reply: nil, result: HRESULT.noInterface))
        }
        let (oxid, remUnknown, reference) = self.view.host.withExporter { exporter in
            let reference = exporter.export(
                .login,
                interface: RPCInterface.wbemLevel1Login.uuid,
                client: call.client,
                now: call.now
            )
            return (exporter.oxid, exporter.remUnknown, reference)
        }
        let interfaces = request.activation.interfaces.map { id in
            guard id == RPCInterface.wbemLevel1Login.uuid else {
                return ActivationReply.Interface(interface: id, result: HRESULT.noInterface, reference: nil)
            }
            return ActivationReply.Interface(interface: id, reference: self.view.reference(id, reference))
        }
        let reply = ActivationReply(
            oxid: oxid,
            bindings: self.view.objectBindings,
            remUnknown: remUnknown,
            authenticationHint: self.view.authenticationHint,
            interfaces: interfaces
        )
        return .answer(RemoteCreateInstance.Response(reply: reply))
    }
}
