import Foundation
import Testing

@testable import SSP

/// Proof by a third party: pyspnego's own NTLM and SPNEGO on the other end.
@Suite("pyspnego", .serialized, .timeLimit(.minutes(2)))
struct PyspnegoTests {
    static let domain = "LAB"
    static let user = "poller"
    static let password = "Pässw0rd & mehr"
    static let account = "\(Self.domain):\(Self.user):\(Self.password)"
    static let bindings = ChannelBindings.tlsServerEndPoint(certificateHash: Array(0..<32))
    static let framings: [SPNEGOInitiator.Framing] = [.raw, .spnego]

    static func initiator(
        _ framing: SPNEGOInitiator.Framing,
        bindings: ChannelBindings?,
        password: String = Self.password
    ) -> SPNEGOInitiator {
        SPNEGOInitiator(
            ntlm: NTLMInitiator(
                credential: NTLMCredential(username: Self.user, password: password, domain: Self.domain),
                channelBindings: bindings,
                targetName: "HTTP/server"
            ),
            framing: framing
        )
    }

    static func protocolName(_ framing: SPNEGOInitiator.Framing) -> String {
        framing == .raw ? "ntlm" : "negotiate"
    }

    /// Logs our initiator in at pyspnego's acceptor.
    static func logIn(_ initiator: inout SPNEGOInitiator, at peer: PythonPeer) throws -> NTLMSession {
        var token: [UInt8] = try initiator.start()
        while true {
            let answer = try peer.ask("step", token)
            let reply = try #require(answer.last)
            switch try initiator.step(hex(reply == "-" ? "" : reply)) {
            case .continue(let next):
                token = next
            case .complete(let last, let session):
                if let last {
                    #expect(try peer.ask("step", last) == ["1", "-"])
                } else {
                    #expect(answer.first == "1")
                }
                return session
            }
        }
    }

    @Test("Its acceptor accepts our initiator", arguments: Self.framings, [true, false])
    func theirAcceptor(framing: SPNEGOInitiator.Framing, bound: Bool) throws {
        let bindings = bound ? Self.bindings : nil
        let peer = try PythonPeer("accept", Self.protocolName(framing), Self.account, bindings)
        var initiator = Self.initiator(framing, bindings: bindings)
        var session = try Self.logIn(&initiator, at: peer)
        #expect(try peer.ask("principal") == [hexText("\(Self.domain)\\\(Self.user)".utf8)])
        #expect(try peer.ask("key") == [hexText(session.exportedSessionKey)])
        try Self.exchangeMessages(&session, peer)
    }

    @Test("Its initiator is accepted by our acceptor", arguments: Self.framings, [true, false])
    func theirInitiator(framing: SPNEGOInitiator.Framing, bound: Bool) throws {
        let bindings = bound ? Self.bindings : nil
        let peer = try PythonPeer("initiate", Self.protocolName(framing), Self.account, bindings)
        var acceptor = Self.acceptor(requiring: bindings)
        var answer = try peer.ask("step", [])
        while true {
            switch try acceptor.step(hex(try #require(answer.last)), lookup: Self.lookup) {
            case .continue(let token):
                answer = try peer.ask("step", token)
            case .complete(let token, let user, let domain, var session):
                if let token {
                    answer = try peer.ask("step", token)
                }
                #expect(answer.first == "1")
                #expect(user == Self.user)
                #expect(domain == Self.domain)
                #expect(try peer.ask("key") == [hexText(session.exportedSessionKey)])
                try Self.exchangeMessages(&session, peer)
                return
            }
        }
    }

    @Test("Its acceptor refuses our wrong password, and a binding to another channel")
    func theirRefusals() throws {
        for (bindings, password) in [(Self.bindings, "wrong"), (ChannelBindings(applicationData: [1]), Self.password)] {
            let peer = try PythonPeer("accept", "ntlm", Self.account, Self.bindings)
            var initiator = Self.initiator(.raw, bindings: bindings, password: password)
            #expect(throws: PythonPeer.Refusal.self) { try Self.logIn(&initiator, at: peer) }
        }
    }

    @Test("Our acceptor refuses its wrong password, and its binding to another channel or to none")
    func ourRefusals() throws {
        let wrong = "\(Self.domain):\(Self.user):wrong"
        let other = ChannelBindings(applicationData: [1])
        let cases: [(String, ChannelBindings?, NTLMError)] = [
            (wrong, Self.bindings, .wrongPassword), (Self.account, other, .channelBindingMismatch),
            (Self.account, nil, .channelBindingMismatch),
        ]
        for (account, bindings, error) in cases {
            let peer = try PythonPeer("initiate", "ntlm", account, bindings)
            var acceptor = Self.acceptor(requiring: Self.bindings)
            let negotiate = hex(try #require(try peer.ask("step", []).last))
            guard case .continue(let challenge) = try acceptor.step(negotiate, lookup: Self.lookup) else {
                Issue.record("an authentication with one message")
                return
            }
            let token = hex(try #require(try peer.ask("step", challenge).last))
            #expect(throws: error) { try acceptor.step(token, lookup: Self.lookup) }
        }
    }

    private static func acceptor(requiring bindings: ChannelBindings?) -> SPNEGOAcceptor {
        SPNEGOAcceptor(
            ntlm: NTLMAcceptor(
                configuration: .init(
                    netbiosComputerName: "SERVER",
                    netbiosDomainName: "LAB",
                    dnsComputerName: "server.lab.example",
                    dnsDomainName: "lab.example",
                    requiredChannelBindings: bindings,
                    requireMIC: true
                )
            )
        )
    }

    private static func lookup(user: String, domain: String) -> String? {
        user == Self.user && domain == Self.domain ? Self.password : nil
    }

    /// Sealed, signed and part-sealed messages both ways, and an altered one at the end.
    private static func exchangeMessages(_ session: inout NTLMSession, _ peer: PythonPeer) throws {
        for size in [1, 2, 300, 5_000] {
            let message = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            let (signature, ciphertext) = try session.seal(message)
            #expect(try peer.ask("unseal", signature, ciphertext) == [hexText(message)])
            let sealed = try peer.ask("seal", message)
            #expect(try session.unseal(hex(sealed[1]), signature: hex(sealed[0])) == message)

            #expect(try peer.ask("verify", message, session.sign(message)) == ["-"])
            try session.verify(message, signature: hex(try peer.ask("sign", message)[0]))

            let header: [UInt8] = [5, 0, 0, 3]
            let trailer: [UInt8] = [10, 6]
            let (partSignature, part) = try session.seal(message, signedAs: header + message + trailer)
            #expect(try peer.ask("unseal_part", header, part, trailer, partSignature) == [hexText(message)])
            let theirs = try peer.ask("seal_part", header, message, trailer)
            let plaintext = try session.unseal(hex(theirs[1]), signature: hex(theirs[0])) { header + $0 + trailer }
            #expect(plaintext == message)
        }
        var (signature, ciphertext) = try session.seal([1, 2, 3])
        ciphertext[0] ^= 1
        #expect(throws: PythonPeer.Refusal.self) { try peer.ask("unseal", signature, ciphertext) }
        signature = hex(try peer.ask("seal", [1, 2, 3])[0])
        #expect(throws: NTLMError.signatureMismatch) { try session.unseal([9, 9, 9], signature: signature) }
    }
}

/// A child process that runs `Tests/Interop/ssp_pyspnego.py`; it ends itself after a minute.
final class PythonPeer {
    /// The peer answered that it refuses; the text is its reason.
    struct Refusal: Error {
        var reason: String
    }

    struct Unavailable: Error, CustomStringConvertible {
        var description: String
    }

    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private var buffered: [UInt8] = []

    init(_ role: String, _ protocolName: String, _ account: String, _ bindings: ChannelBindings?) throws {
        // A peer that died must show as an error, not end the test process.
        signal(SIGPIPE, SIG_IGN)
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let python =
            ProcessInfo.processInfo.environment["NMSLITE_TEST_PYTHON"] ?? root.appending(path: ".venv/bin/python").path
        let advice = "set NMSLITE_TEST_PYTHON to a Python with the packages of scripts/requirements.txt"
        guard FileManager.default.isExecutableFile(atPath: python) else {
            throw Unavailable(description: "no Python at \(python): run scripts/bootstrap, or \(advice)")
        }
        self.process.executableURL = URL(filePath: python)
        self.process.arguments =
            [root.appending(path: "Tests/Interop/ssp_pyspnego.py").path, role, protocolName, account]
            + (bindings.map { [hexText($0.applicationData)] } ?? [])
        self.process.standardInput = self.input
        self.process.standardOutput = self.output
        try self.process.run()
        guard let greeting = try self.readLine(), greeting.hasPrefix("ok pyspnego ") else {
            throw Unavailable(description: "\(python) does not run pyspnego (its error is above): \(advice)")
        }
    }

    deinit {
        try? self.input.fileHandleForWriting.close()
        self.process.waitUntilExit()
    }

    /// Sends a command and gives the words of the answer. Throws `Refusal` when the answer is an error.
    func ask(_ command: String, _ operands: [UInt8]...) throws -> [String] {
        let words = [command] + operands.map { $0.isEmpty ? "-" : hexText($0) }
        try self.input.fileHandleForWriting.write(contentsOf: Data((words.joined(separator: " ") + "\n").utf8))
        guard let line = try self.readLine() else {
            throw Unavailable(description: "pyspnego ended before it answered")
        }
        guard line.hasPrefix("ok ") else {
            throw Refusal(reason: line)
        }
        return line.dropFirst(3).split(separator: " ").map(String.init)
    }

    private func readLine() throws -> String? {
        while true {
            if let end = self.buffered.firstIndex(of: UInt8(ascii: "\n")) {
                let line = String(decoding: self.buffered[..<end], as: UTF8.self)
                self.buffered.removeSubrange(...end)
                return line
            }
            let more = self.output.fileHandleForReading.availableData
            guard !more.isEmpty else {
                return nil
            }
            self.buffered += more
        }
    }
}
