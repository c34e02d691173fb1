import DCOM

/// The objects of a host, at its dynamic port: the exporter's IRemUnknown and what clients hold of WMI.
///
/// A call is for the object that its IPID names, whatever interface the presentation context was bound to: so does
/// Windows, and known clients rely on it.
struct ObjectService: Sendable {
    static let interfaces = [
        RPCInterface.remUnknown, .remUnknown2, .wbemLevel1Login, .wbemServices, .enumWbemClassObject,
        .wbemFetchSmartEnum, .wbemWCOSmartEnum,
    ]
    /// Methods of IUnknown, which never travel, [MS-DCOM] 3.1.1.5.4.
    private static let firstOpnum: UInt16 = 3

    let view: DCOMHostView

    func answer(_ call: DCOMCall) -> DCOMReply {
        guard call.level >= self.view.minimumLevel, call.user != nil else { return .fault(.accessDenied) }
        guard let ipid = call.object else { return .fault(.invalidObject) }
        guard call.opnum >= Self.firstOpnum else { return .fault(.operationRangeError) }
        if let age = self.view.faults.first({ if case .objectsReclaimed(let age) = $0 { age } else { nil } }) {
            self.view.host.withExporter { $0.reclaimAll(olderThan: age, now: call.now) }
        }
        let (isRemUnknown, target) = self.view.host.withExporter { exporter in
            (ipid == exporter.remUnknown, exporter.use(ipid, client: call.client, now: call.now))
        }
        do throws(NDRError) {
            if isRemUnknown { return try self.remUnknown(call) }
            guard let target else { return .fault(.disconnected) }
            return try WMIService(view: self.view, target: target).answer(call)
        } catch {
            return .fault(.badStubData)
        }
    }

    // MARK: IRemUnknown

    private func remUnknown(_ call: DCOMCall) throws(NDRError) -> DCOMReply {
        switch call.opnum {
        case RemQueryInterface.opnum: try self.queryInterface(RemQueryInterface.Request(stub: call.stub), call)
        case RemAddRef.opnum: self.addReferences(try RemAddRef.Request(stub: call.stub), call)
        case RemRelease.opnum: self.release(try RemRelease.Request(stub: call.stub))
        default: .fault(.operationRangeError)
        }
    }

    private func queryInterface(_ request: RemQueryInterface.Request, _ call: DCOMCall) -> DCOMReply {
        let refuses = self.view.faults.contains(.plainEnumerators)
        let (isKnown, results) = self.view.host.withExporter { exporter in
            guard exporter.use(request.ipid, client: call.client, now: call.now) != nil else {
                return (false, [RemQueryInterface.Result]())
            }
            let results = request.interfaces.map { interface in
                let isRefused = refuses && interface == RPCInterface.wbemFetchSmartEnum.uuid
                let reference =
                    isRefused
                    ? nil
                    : exporter.queryInterface(request.ipid, interface: interface, references: request.references)
                return RemQueryInterface.Result(
                    result: reference == nil ? HRESULT.noInterface : .ok,
                    reference: reference ?? StandardReference(publicReferences: 0, oxid: 0, oid: 0, ipid: .null)
                )
            }
            return (true, results)
        }
        guard isKnown else {
            return .answer(RemQueryInterface.Response(results: [], result: HRESULT.invalidArgument))
        }
        let failures = results.count { $0.result != .ok }
        let result: HRESULT =
            failures == 0 ? .ok : failures == results.count ? HRESULT.noInterface : HRESULT.partial
        return .answer(RemQueryInterface.Response(results: results, result: result))
    }

    private func addReferences(_ request: RemAddRef.Request, _ call: DCOMCall) -> DCOMReply {
        let results = self.view.host.withExporter { exporter in
            request.references.map { reference in
                guard exporter.use(reference.ipid, client: call.client, now: call.now) != nil,
                    exporter.addReferences(reference.publicReferences, to: reference.ipid)
                else { return HRESULT.invalidArgument }
                return HRESULT.ok
            }
        }
        let result = results.allSatisfy { $0 == .ok } ? HRESULT.ok : HRESULT.invalidArgument
        return .answer(RemAddRef.Response(results: results, result: result))
    }

    private func release(_ request: RemRelease.Request) -> DCOMReply {
        let isSound = self.view.host.withExporter { exporter in
            request.references.reduce(true) { isSound, reference in
                exporter.release(reference.publicReferences, of: reference.ipid) && isSound
            }
        }
        return .answer(RemRelease.Response(result: isSound ? .ok : HRESULT.invalidArgument))
    }
}
