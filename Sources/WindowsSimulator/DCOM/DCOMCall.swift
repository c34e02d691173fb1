import DCOM

/// A call that came over RPC, whole and with its signature verified.
struct DCOMCall: Sendable {
    /// What the presentation context was bound to.
    var interface: RPCInterface
    /// The IPID that the call is for.
    var object: GUID?
    var opnum: UInt16
    var stub: ArraySlice<UInt8>
    /// What protects it.
    var level: RPCAuthLevel
    /// Whoever has logged in, in lower case.
    var user: String?
    /// The connection that it came over.
    var client: DCOMExporter.ClientID
    /// When it came.
    var arrival: FileTime
    /// The instant of its answer.
    var now: FileTime
}

/// What becomes of a call.
enum DCOMReply: Sendable {
    case stub([UInt8], isQueryResult: Bool = false)
    case fault(RPCStatus)
    /// To be asked again at that time.
    case wait(until: FileTime)
    /// Nothing, ever.
    case never

    static func answer(_ response: some NDRCodable, isQueryResult: Bool = false) -> Self {
        .stub(response.stub, isQueryResult: isQueryResult)
    }
}

extension HRESULT {
    /// Some of what was asked for is there, S_FALSE.
    static let partial = HRESULT(1)
    static let invalidArgument = HRESULT(0x8007_0057)
}

/// What all services of a host's DCOM need to know.
struct DCOMHostView: Sendable {
    let fleet: FleetContext
    let host: SimulatedHost
    let faults: ActiveFaults
    /// The port of the objects.
    let objectPort: Int

    /// Where the simulator has no business; [RFC 5737] keeps it free.
    private static let foreignAddress = "192.0.2.17"
    /// The last port before the dynamic ones is nobody's.
    private static let closedPort = 49_151
    private static let pipe = #"[\PIPE\atsvc]"#

    /// Which level of protection activation and calls must have. Packet integrity is the least since KB5004442.
    var minimumLevel: RPCAuthLevel {
        self.faults.contains(.privacyRequired) ? .packetPrivacy : .packetIntegrity
    }

    /// Ways to the objects, as the resolver and activation tell them: named pipes before TCP, ports with both.
    var objectBindings: DualStringArray {
        var port = self.objectPort
        if case .dynamicPortClosed(silently: false)? = self.faults.first({ kind in
            if case .dynamicPortClosed = kind { kind } else { nil }
        }) {
            port = Self.closedPort
        }
        return self.bindings(suffix: "[\(port)]", pipes: true)
    }

    /// Ways to the host without ports, as object references and ServerAlive2 tell them.
    var hostBindings: DualStringArray { self.bindings(suffix: "", pipes: false) }

    private func bindings(suffix: String, pipes: Bool) -> DualStringArray {
        let name = self.host.profile.computerName
        var strings: [StringBinding] = []
        if pipes {
            strings.append(StringBinding(tower: StringBinding.namedPipe, address: #"\\"# + name + Self.pipe))
        }
        if self.faults.contains(.foreignBindings) {
            strings.append(StringBinding(tower: StringBinding.tcp, address: Self.foreignAddress + suffix))
        } else {
            strings.append(StringBinding(tower: StringBinding.tcp, address: name + suffix))
            if !self.faults.contains(.hostnameBindings) {
                strings.append(StringBinding(tower: StringBinding.tcp, address: "\(self.host.address)" + suffix))
            }
        }
        return DualStringArray(
            stringBindings: strings,
            securityBindings: [RPCAuthType.negotiate, .ntlm, .kerberos].map {
                SecurityBinding(authenticationService: UInt16($0.rawValue))
            }
        )
    }

    /// What the exporter asks of clients, which many hosts understate: 4 is packet, 5 packet integrity.
    var authenticationHint: UInt32 { self.host.profile.release.build >= 20_348 ? 5 : 4 }

    func reference(_ interface: GUID, _ standard: StandardReference) -> ObjectReference {
        ObjectReference(interface: interface, kind: .standard(standard, self.hostBindings))
    }
}
