/// Calls of objects, and what becomes of the references that they bring.
extension WMIConnection {
    func withExporter(_ change: (inout Exporter) -> Void) {
        guard case .ready(var exporter) = self.state else { return }
        change(&exporter)
        self.state = .ready(exporter)
    }

    func this(_ causality: GUID) throws(WMIError) -> ORPCThis {
        guard case .ready(let exporter) = self.state else { throw .closed }
        return ORPCThis(version: exporter.version, causality: causality)
    }

    /// Calls a method of an object of the exporter, binding its interface first if need be.
    ///
    /// The answer's own result is not looked at: `Next` has several that are no failure.
    func call<Method: RemoteMethod>(
        _ method: Method.Type,
        _ ipid: GUID,
        _ request: Method.Request,
        step: WMIError.Step,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> Method.Response {
        guard case .ready(let exporter) = self.state else { throw .closed }
        if !exporter.bound.contains(Method.interface) {
            do throws(RPCError) {
                try await exporter.channel.bind([Method.interface], deadline: deadline)
            } catch {
                throw WMIError(error, during: step)
            }
            self.withExporter { $0.bound.insert(Method.interface) }
        }
        return try await exporter.channel.invoke(method, object: ipid, request, step: step, deadline: deadline)
    }

    /// Enters the interface that an answer has brought, whatever else the answer says.
    func taken(
        _ answer: InterfaceResponse,
        step: WMIError.Step,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> StandardReference {
        let reference = answer.reference?.standard
        if let reference { self.ledger.hold(reference) }
        guard !answer.result.isFailure else {
            if let reference { self.ledger.retire(reference.ipid) }
            throw WMIError(answer.result, during: step)
        }
        guard let reference else { throw .protocolViolation(step, "success without an interface") }
        guard reference.publicReferences == 0 else { return reference }
        // Nothing came along: the interface may go at any moment unless some are taken ([MS-DCOM] 3.2.4.4).
        do throws(WMIError) {
            return try await self.addReferences(to: reference, step: step, deadline: deadline)
        } catch {
            self.ledger.retire(reference.ipid)
            throw error
        }
    }

    private func addReferences(
        to reference: StandardReference,
        step: WMIError.Step,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> StandardReference {
        guard case .ready(let exporter) = self.state else { throw .closed }
        var reference = reference
        reference.publicReferences = 1
        let answer = try await self.call(
            RemAddRef.self,
            exporter.remUnknown,
            RemAddRef.Request(
                this: try self.this(self.newGUID()),
                references: [InterfaceReferenceCount(ipid: reference.ipid, publicReferences: 1)]
            ),
            step: step,
            deadline: deadline
        )
        let result = answer.results.first ?? answer.result
        guard !answer.result.isFailure, !result.isFailure else { throw WMIError(result, during: step) }
        self.ledger.hold(reference)
        return reference
    }

    /// Gives back all that is retired, in one call; what could not be given back stays retired.
    ///
    /// Not cancelled with its caller, which would close the exporter's channel in the middle of the call; the deadline
    /// ends it.
    func release(through exporter: Exporter, deadline: ContinuousClock.Instant) async {
        guard exporter.channel.isOpen else { return }
        let references = self.ledger.takeRetired()
        guard !references.isEmpty else { return }
        let request = RemRelease.Request(
            this: ORPCThis(version: exporter.version, causality: self.newGUID()),
            references: references
        )
        let failure = await Task { await Self.send(request, through: exporter, deadline: deadline) }.value
        if let failure, !Self.isForgotten(failure) { self.ledger.giveUp(references) }
    }

    private static func send(
        _ request: RemRelease.Request,
        through exporter: Exporter,
        deadline: ContinuousClock.Instant
    ) async -> WMIError? {
        if !exporter.bound.contains(RemRelease.interface) {
            do throws(RPCError) {
                try await exporter.channel.bind([RemRelease.interface], deadline: deadline)
            } catch {
                return WMIError(error, during: .releasing)
            }
        }
        do throws(WMIError) {
            // What it answers changes nothing: a reference that the host does not know is none any more.
            _ = try await exporter.channel.invoke(
                RemRelease.self,
                object: exporter.remUnknown,
                request,
                step: .releasing,
                deadline: deadline
            )
            return nil
        } catch {
            return error
        }
    }

    /// Whether the host has said that the references, or their process, are gone.
    private static func isForgotten(_ error: WMIError) -> Bool {
        error.status != nil || error.leavesConnectionOpen
    }
}
