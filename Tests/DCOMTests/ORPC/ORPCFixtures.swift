import Foundation
import Testing

@testable import DCOM

/// Stubs that impacket 0.13.1 and aiowmi 1.1.3 marshal, written by `Fixtures/ORPC/generate.py`; and values in them.
enum ORPCFixtures {
    static let causality: GUID = "01234567-89ab-cdef-0123-456789abcdef"
    static let ipid: GUID = "00008c01-0b94-0000-a5a5-5a5a00112233"
    static let remUnknown: GUID = "00000001-0b94-0000-a5a5-5a5a44556677"
    static let oxid: UInt64 = 0x1122_3344_5566_7788
    static let oid: UInt64 = 0x99AA_BBCC_DDEE_FF00
    static let query = "SELECT Name FROM Win32_LogicalDisk WHERE DriveType=3"

    static let standard = StandardReference(publicReferences: 5, oxid: Self.oxid, oid: Self.oid, ipid: Self.ipid)
    static let this = ORPCThis(causality: Self.causality)

    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Fixtures/ORPC")

    static let stubs: [String: [UInt8]] = Self.read("stubs.txt")

    static func stub(_ name: String) throws -> [UInt8] {
        try #require(Self.stubs[name], "no stub \(name)")
    }

    /// Lines of a name and hexadecimal digits.
    static func read(_ file: String) -> [String: [UInt8]] {
        guard let text = try? String(contentsOf: Self.folder.appending(path: file), encoding: .utf8) else { return [:] }
        var stubs: [String: [UInt8]] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: " ")
            guard parts.count == 2 else { continue }
            let digits = Array(parts[1].utf8)
            stubs[String(parts[0])] = stride(from: 0, to: digits.count - 1, by: 2).compactMap {
                UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)
            }
        }
        return stubs
    }

    /// One of each, as our encoders make them; `ours.txt` holds the same, and `generate.py --check` reads that with
    /// both clients.
    static let ours: [(name: String, stub: [UInt8])] = [
        (
            "RemoteCreateInstance",
            RemoteCreateInstance.Request(
                this: ORPCThis(flags: ORPCThis.localFlag, causality: Self.causality),
                activation: ActivationRequest(
                    classID: ClassID.wbemLevel1Login,
                    interfaces: [RPCInterface.wbemLevel1Login.uuid]
                )
            ).stub
        ),
        ("RemoteCreateInstance.answer", RemoteCreateInstance.Response(reply: Self.activation).stub),
        ("ServerAlive2.answer", ServerAlive2.Response(bindings: Self.activation.bindings).stub),
        ("SimplePing", SimplePing.Request(set: 0x0102_0304_0506_0708).stub),
        ("ComplexPing", ComplexPing.Request(set: 0, sequence: 1, added: [Self.oid, Self.oid + 1], removed: []).stub),
        (
            "RemQueryInterface",
            RemQueryInterface.Request(
                this: Self.this,
                ipid: Self.ipid,
                references: 1,
                interfaces: [RPCInterface.wbemFetchSmartEnum.uuid]
            ).stub
        ),
        (
            "RemQueryInterface.answer",
            RemQueryInterface.Response(results: [.init(result: .ok, reference: Self.standard)]).stub
        ),
        ("RemRelease", RemRelease.Request(this: Self.this, references: Self.references).stub),
        ("NTLMLogin", NTLMLogin.Request(this: Self.this, networkResource: "//./root/cimv2").stub),
        ("ExecQuery", ExecQuery.Request(this: Self.this, query: Self.query).stub),
        ("EnumNext", EnumNext.Request(this: Self.this, timeout: EnumNext.infinite, count: 7).stub),
        ("EnumNext.answer", Self.rows.stub),
        ("interface.answer", InterfaceResponse(reference: Self.enumerator).stub),
    ]

    static let references = [
        InterfaceReferenceCount(ipid: Self.ipid, publicReferences: 5),
        InterfaceReferenceCount(ipid: Self.remUnknown, publicReferences: 5),
    ]

    static let bindings = DualStringArray(
        stringBindings: [
            StringBinding(tower: StringBinding.namedPipe, address: #"\\HOST[\PIPE\atsvc]"#),
            StringBinding(tower: StringBinding.tcp, address: "HOST[49154]"),
            StringBinding(tower: StringBinding.tcp, address: "192.0.2.17[49154]"),
        ],
        securityBindings: [
            SecurityBinding(authenticationService: 9), SecurityBinding(authenticationService: 10),
        ]
    )

    static let activation = ActivationReply(
        oxid: Self.oxid,
        bindings: Self.bindings,
        remUnknown: Self.remUnknown,
        authenticationHint: 4,
        interfaces: [
            ActivationReply.Interface(
                interface: RPCInterface.wbemLevel1Login.uuid,
                reference: ObjectReference(
                    interface: RPCInterface.wbemLevel1Login.uuid,
                    kind: .standard(Self.standard, DualStringArray())
                )
            )
        ]
    )

    static let enumerator = ObjectReference(
        interface: RPCInterface.enumWbemClassObject.uuid,
        kind: .standard(
            Self.standard,
            DualStringArray(
                stringBindings: [StringBinding(tower: StringBinding.tcp, address: "HOST")],
                securityBindings: [SecurityBinding(authenticationService: 10)]
            )
        )
    )

    static let rows = EnumNext.Response(
        maximum: 7,
        objects: [Array("first\0\0".utf8), Array("second".utf8)].map { data in
            ObjectReference(
                interface: RPCInterface.wbemClassObject.uuid,
                kind: .custom(classID: ClassID.wbemClassObject, extensionSize: 0, data: data[...])
            )
        },
        result: .wbemFalse
    )
}
