import DCOM
import Testing

@testable import WindowsSimulator

/// What a host answers to single calls, signed or not.
struct DCOMServiceTests {
    private static let start = CivilDate(year: 2026, month: 6, day: 1).fileTime
    private let fleet: FleetContext

    init() throws {
        let configuration = SimulatorConfiguration(
            addresses: try #require(AddressRange(base: IPv4(value: 0x7F01_0001), count: 1)),
            password: "Secret-1",
            fleet: HostProfile.Fleet(seed: 2, epoch: Self.start)
        )
        let host = SimulatedHost(
            address: configuration.addresses[0],
            profile: HostProfile(index: 0, fleet: configuration.fleet)
        )
        self.fleet = FleetContext(configuration: configuration, hosts: [host], certificates: nil) { Self.start }
    }

    private var host: SimulatedHost { self.fleet.hosts[0] }

    private func view(_ faults: [FaultKind] = []) -> DCOMHostView {
        DCOMHostView(fleet: self.fleet, host: self.host, faults: ActiveFaults(kinds: faults), objectPort: 49_160)
    }

    private static func call(
        _ interface: RPCInterface,
        _ opnum: UInt16,
        _ stub: [UInt8] = [],
        object: GUID? = nil,
        level: RPCAuthLevel = .packetIntegrity
    ) -> DCOMCall {
        DCOMCall(
            interface: interface,
            object: object,
            opnum: opnum,
            stub: stub[...],
            level: level,
            user: level == .none ? nil : "u",
            client: 1,
            arrival: Self.start,
            now: Self.start
        )
    }

    private static func fault(_ reply: DCOMReply) -> RPCStatus? {
        if case .fault(let status) = reply { status } else { nil }
    }

    private static func stub(_ reply: DCOMReply) throws -> [UInt8] {
        guard case .stub(let stub, _) = reply else { throw SimulatorError("\(reply)") }
        return stub
    }

    private static let this = ORPCThis(causality: .null)

    private static let activation = RemoteCreateInstance.Request(
        this: Self.this,
        activation: ActivationRequest(
            classID: ClassID.wbemLevel1Login,
            interfaces: [RPCInterface.wbemLevel1Login.uuid]
        )
    ).stub

    private func activate(
        _ faults: [FaultKind] = [],
        level: RPCAuthLevel = .packetIntegrity
    ) throws -> ActivationReply {
        let call = Self.call(.remoteSCMActivator, 4, Self.activation, level: level)
        let reply = ResolverService(view: self.view(faults)).answer(call)
        return try #require(try RemoteCreateInstance.Response(stub: Self.stub(reply)).reply)
    }

    // MARK: Resolver

    @Test(arguments: [RPCAuthLevel.none, .connect, .call, .packet])
    func activationNeedsPacketIntegrity(level: RPCAuthLevel) {
        let resolver = ResolverService(view: self.view())
        let activation = Self.call(.remoteSCMActivator, 4, Self.activation, level: level)
        #expect(Self.fault(resolver.answer(activation)) == .accessDenied)
        let resolution = Self.call(.objectExporter, 4, [UInt8](repeating: 0, count: 24), level: level)
        #expect(Self.fault(resolver.answer(resolution)) == .accessDenied)
        #expect(self.host.withExporter { $0.heldReferences(Self.start) } == 0)
    }

    @Test func privacyCanBeRequired() throws {
        let call = Self.call(.remoteSCMActivator, 4, Self.activation)
        #expect(Self.fault(ResolverService(view: self.view([.privacyRequired])).answer(call)) == .accessDenied)
        _ = try self.activate([.privacyRequired], level: .packetPrivacy)
    }

    @Test func bindingsAreAsWindowsTellsThem() throws {
        let name = self.host.profile.computerName
        let reply = try self.activate()
        #expect(
            reply.bindings.stringBindings.map(\.address) == [
                "\\\\\(name)[\\PIPE\\atsvc]", "\(name)[49160]", "127.1.0.1[49160]",
            ]
        )
        #expect(reply.version == COMVersion.current)
        guard case .standard(let reference, let bindings)? = reply.interfaces[0].reference?.kind else {
            Issue.record("no standard reference")
            return
        }
        #expect(reference.publicReferences == 5 && reference.oxid == reply.oxid)
        #expect(bindings.stringBindings.map(\.address) == [name, "127.1.0.1"])
        let hidden = try self.activate([.hostnameBindings]).bindings.stringBindings
        #expect(!hidden.contains { $0.address.hasPrefix("127.") })
        let foreign = try self.activate([.foreignBindings]).bindings.stringBindings
        #expect(foreign.last?.address == "192.0.2.17[49160]")
        let closed = try self.activate([.dynamicPortClosed(silently: false)]).bindings.stringBindings
        #expect(closed.last?.address == "127.1.0.1[49151]")
    }

    @Test func anybodyMayAskWhetherItLives() throws {
        let resolver = ResolverService(view: self.view())
        let reply = resolver.answer(Self.call(.objectExporter, 5, level: .none))
        let response = try ServerAlive2.Response(stub: Self.stub(reply))
        #expect(response.bindings.stringBindings.map(\.address).contains("127.1.0.1"))
        #expect(Self.fault(resolver.answer(Self.call(.objectExporter, 6))) == .operationRangeError)
        #expect(Self.fault(resolver.answer(Self.call(.wbemServices, 3))) == .unknownInterface)
        #expect(Self.fault(resolver.answer(Self.call(.remoteSCMActivator, 4, [1, 2]))) == .badStubData)
    }

    @Test func resolutionGivesTheExporter() throws {
        let exporter = self.host.withExporter { ($0.oxid, $0.remUnknown) }
        var request = NDRWriter()
        request.uint64(exporter.0)
        let resolver = ResolverService(view: self.view())
        var reader = NDRReader(try Self.stub(resolver.answer(Self.call(.objectExporter, 4, request.bytes))))
        #expect(try reader.pointer() != 0)
        let bindings = try DualStringArray(from: &reader)
        #expect(bindings.stringBindings.last?.address == "127.1.0.1[49160]")
        #expect(try reader.guid() == exporter.1)
        _ = try reader.uint32()
        #expect(try COMVersion(from: &reader) == COMVersion.current)
        #expect(try reader.uint32() == 0)
    }

    // MARK: Objects

    @Test func callsFindTheirObjectsByIPID() throws {
        let login = try #require(try self.activate().interfaces[0].reference?.standard)
        let objects = ObjectService(view: self.view())
        let request = NTLMLogin.Request(this: Self.this, networkResource: "//./ROOT/CIMV2").stub
        // Over a context of another interface, as aiowmi does it.
        let reply = objects.answer(Self.call(.remUnknown, 6, request, object: login.ipid))
        let services = try #require(try InterfaceResponse(stub: Self.stub(reply)).reference?.standard)
        #expect(services.oid != login.oid)
        #expect(Self.fault(objects.answer(Self.call(.wbemServices, 99, object: services.ipid))) == .operationRangeError)
        #expect(Self.fault(objects.answer(Self.call(.wbemServices, 20, object: .null))) == .disconnected)
        #expect(Self.fault(objects.answer(Self.call(.wbemServices, 20))) == .invalidObject)
        let plain = Self.call(.wbemServices, 20, object: services.ipid, level: .connect)
        #expect(Self.fault(objects.answer(plain)) == .accessDenied)
        // GetObject: two null pointers and WBEM_E_NOT_SUPPORTED.
        let unsupported = try Self.stub(objects.answer(Self.call(.wbemServices, 6, object: services.ipid)))
        #expect(unsupported == [UInt8](repeating: 0, count: 16) + [0x0C, 0x10, 0x04, 0x80])
    }

    @Test func patientCallsWaitForRows() throws {
        let faults: [FaultKind] = [.slowQuery(delay: 5, wmiClass: nil)]
        let services = self.host.withExporter {
            $0.export(
                .services(namespace: #"root\cimv2"#),
                interface: RPCInterface.wbemServices.uuid,
                client: 1,
                now: Self.start
            )
        }
        let objects = ObjectService(view: self.view(faults))
        let query = ExecQuery.Request(this: Self.this, query: "SELECT Name FROM Win32_LogicalDisk").stub
        let begun = objects.answer(Self.call(.wbemServices, 20, query, object: services.ipid))
        let enumerator = try #require(try InterfaceResponse(stub: Self.stub(begun)).reference?.standard)
        func next(_ timeout: UInt32, at seconds: Double) -> DCOMReply {
            let request = EnumNext.Request(this: Self.this, timeout: timeout, count: 100).stub
            var call = Self.call(.enumWbemClassObject, 4, request, object: enumerator.ipid)
            call.now = Self.start.adding(seconds: seconds)
            return objects.answer(call)
        }
        guard case .wait(let time) = next(EnumNext.infinite, at: 0) else {
            Issue.record("no wait")
            return
        }
        #expect(time == Self.start.adding(seconds: 5))
        guard case .wait(let early) = next(2_000, at: 1) else {
            Issue.record("no wait")
            return
        }
        #expect(early == Self.start.adding(seconds: 2))
        #expect(try EnumNext.Response(stub: Self.stub(next(2_000, at: 2))).result == .wbemTimedOut)
        let rows = try EnumNext.Response(stub: Self.stub(next(EnumNext.infinite, at: 5)))
        #expect(rows.result == .wbemFalse)
        #expect(rows.objects.count == self.host.profile.disks.count)
    }
}
