import Foundation
import Testing

@testable import WinRM

/// Our client against a host made of third-party parts: `Tests/Interop/winrm_server.py`.
@Suite(.serialized) struct PythonHostTests {
    private static let login = WinRMAuthentication.ntlm(username: "poller", password: "Pässw0rd", domain: "FABRIKAM")
    private static let query = "SELECT Name FROM C WHERE Name <> 'ä&<>'"

    /// Runs the host while `body` does something with its port and its certificate's file.
    private static func withHost(_ scheme: String, body: (Int, String) async throws -> Void) async throws {
        let process = try Python.process("winrm_server.py", [scheme, "FABRIKAM:poller:Pässw0rd"])
        let input = Pipe()
        let output = Pipe()
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        defer {
            try? input.fileHandleForWriting.close()
            process.waitUntilExit()
        }
        var line: [UInt8] = []
        while !line.contains(UInt8(ascii: "\n")) {
            let more = output.fileHandleForReading.availableData
            try #require(!more.isEmpty, "winrm_server.py ended; its error is above")
            line += more
        }
        let words = line.text.split(whereSeparator: \.isWhitespace).map(String.init)
        let port = try #require(words.first.flatMap { Int($0) })
        try await body(port, words.count > 1 ? words[1] : "")
    }

    private static func enumerate(_ connection: WinRMConnection) async throws {
        for _ in 0..<3 {
            let rows = try await connection.enumerate(wql: Self.query, deadline: .soon)
            #expect(rows.map { $0["Name"]?.string } == ["ä&b", "two", String(repeating: "x", count: 20000)])
            let error = await failure { try await connection.enumerate(wql: "SELECT Name FROM Fault", deadline: .soon) }
            #expect(error?.category == .accessDenied)
        }
    }

    @Test func exchangesSealedMessages() async throws {
        try await Self.withHost("http") { port, _ in
            try await withConnection(port: port, signIn: Self.login) { try await Self.enumerate($0) }
            let wrong = WinRMAuthentication.ntlm(username: "poller", password: "wrong", domain: "FABRIKAM")
            let error = await failure { try await withConnection(port: port, signIn: wrong) { _ in } }
            #expect(error == .authenticationFailed(""))
        }
    }

    @Test func bindsToTheCertificate() async throws {
        try await Self.withHost("https") { port, file in
            let tls = TLSSettings(expectedNames: ["127.0.0.1"], caFile: file)
            try await withConnection(port: port, tls: tls, signIn: Self.login) { try await Self.enumerate($0) }
            let other = TLSSettings(expectedNames: ["127.0.0.2"], caFile: file)
            let error = await failure { try await withConnection(port: port, tls: other, signIn: Self.login) { _ in } }
            #expect(error?.category == .tlsFailed)
        }
    }
}
