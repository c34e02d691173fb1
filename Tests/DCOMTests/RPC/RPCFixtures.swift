import Foundation
import Testing

@testable import DCOM
@testable import SSP

/// An exchange that another client made; `Fixtures/RPC/generate.py` tells how.
struct RPCRecording: Decodable, Sendable, CustomTestStringConvertible {
    struct SecurityContext: Decodable, Sendable {
        var id: UInt32
        /// ExportedSessionKey of NTLM.
        var key: String
    }

    struct Message: Decodable, Sendable {
        var from: String
        var name: String
        var hex: String
        /// The whole stub of the message that this fragment belongs to.
        var stub: String?
        var opnum: UInt16?
        var object: String?
        var securityContext: UInt32?

        var bytes: [UInt8] { [UInt8](hex: self.hex) }
    }

    var origin: String
    var level: UInt8
    var securityContexts: [SecurityContext]
    var messages: [Message]

    var testDescription: String { "\(self.origin), level \(self.level)" }

    init(_ name: String) throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        let data = try Data(contentsOf: folder.appending(path: "Fixtures/RPC/\(name).json"))
        self = try JSONDecoder().decode(Self.self, from: data)
    }

    /// The four recordings; a missing file fails every test that reads them.
    static func all() throws -> [RPCRecording] {
        try ["impacket-integrity", "impacket-privacy", "aiowmi-integrity", "aiowmi-privacy"].map { try Self($0) }
    }

    /// Fresh security contexts, by id, of one side.
    func contexts(_ role: NTLMSession.Role) -> [UInt32: RPCSecurityContext] {
        Dictionary(
            uniqueKeysWithValues: self.securityContexts.map { context in
                let session = NTLMSession(exportedSessionKey: [UInt8](hex: context.key), role: role)
                let level = RPCAuthLevel(rawValue: self.level) ?? .packetPrivacy
                return (context.id, RPCSecurityContext(session: session, level: level, contextID: context.id))
            }
        )
    }
}

extension [UInt8] {
    init(hex: String) {
        let digits = Array<UInt8>(hex.utf8)
        self = stride(from: 0, to: digits.count - 1, by: 2).map { index in
            UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16) ?? 0
        }
    }

    /// Bytes that differ from their neighbours.
    static func pattern(_ count: Int, seed: Int = 1) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: seed + 7 * $0 + $0 / 256) }
    }
}
