import SSP

/// What the client of WMI needs of a connection of RPC; a seam for tests.
protocol RPCChannel: Sendable {
    var isOpen: Bool { get }
    var statistics: RPCStatistics { get }
    /// What the host said about itself in its last NTLM challenge, which may come with a refused interface.
    var challengeInfo: NTLMChallengeInfo? { get }

    func bind(_ interfaces: [RPCInterface], deadline: ContinuousClock.Instant) async throws(RPCError)
    func requestChallenge(
        _ interfaces: [RPCInterface],
        level: RPCAuthLevel,
        deadline: ContinuousClock.Instant
    ) async throws(RPCError) -> NTLMChallengeInfo
    func authenticate(
        _ credential: NTLMCredential,
        targetName: String?,
        deadline: ContinuousClock.Instant
    ) async throws(RPCError) -> UInt32
    func call(
        _ interface: RPCInterface,
        object: GUID?,
        opnum: UInt16,
        stub: [UInt8],
        security: UInt32?,
        deadline: ContinuousClock.Instant
    ) async throws(RPCError) -> [UInt8]
    func close() async
    func abandon(_ error: RPCError)
}

extension RPCConnection: RPCChannel {}

/// Opens a connection to an address and a port.
typealias RPCDial =
    @Sendable (_ address: String, _ port: Int, _ deadline: ContinuousClock.Instant) async throws(RPCError)
    -> any RPCChannel

extension RPCChannel {
    /// Calls a method that belongs to no object.
    func invoke<Method: RemoteMethod>(
        _ method: Method.Type,
        _ request: Method.Request,
        step: WMIError.Step,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> Method.Response {
        try await self.invoke(method, object: nil, request, step: step, deadline: deadline)
    }

    /// Calls a method, of an object if an IPID is given.
    func invoke<Method: RemoteMethod>(
        _: Method.Type,
        object: GUID?,
        _ request: Method.Request,
        step: WMIError.Step,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> Method.Response {
        let stub: [UInt8]
        do throws(RPCError) {
            stub = try await self.call(
                Method.interface,
                object: object,
                opnum: Method.opnum,
                stub: request.stub,
                security: nil,
                deadline: deadline
            )
        } catch {
            throw WMIError(error, during: step)
        }
        do throws(NDRError) {
            return try Method.Response(stub: stub)
        } catch {
            throw .malformed(step, error)
        }
    }
}
