import Foundation
import NMSCore
import Testing

@testable import NMSRuntime

@Suite struct SecretsTests {
    @Test func theyAreGeneratedOnceAndKept() throws {
        let temporary = try TemporaryDirectory()
        let directory = try temporary.dataDirectory()
        let first = try Secrets.load(.defaults, directory: directory)
        #expect(first.generatedFiles == [directory.jwtSecretFile, directory.masterKeyFile])
        #expect(first.jwtSecret.exposed.utf8.count >= 32)
        #expect(first.masterKeys.current.exposed.count == 32)
        for file in first.generatedFiles { #expect(try TemporaryDirectory.mode(of: file) == 0o600) }
        let second = try Secrets.load(.defaults, directory: directory)
        #expect(second.generatedFiles.isEmpty)
        #expect(second.jwtSecret == first.jwtSecret)
        #expect(second.masterKeys.current == first.masterKeys.current)
        let elsewhere = try TemporaryDirectory()
        let other = try Secrets.load(.defaults, directory: elsewhere.dataDirectory())
        #expect(other.masterKeys.current != first.masterKeys.current)
        #expect(other.jwtSecret != first.jwtSecret)
    }

    @Test func configuredOnesAreUsedAndNothingIsWritten() throws {
        let temporary = try TemporaryDirectory()
        let directory = try temporary.dataDirectory()
        let fixture = ConfigurationFixture(
            arguments: ["--database.host", "db"],
            environment: [
                "NMSLITE_JWT_SECRET": ConfigurationFixture.jwtSecret,
                "NMSLITE_MASTER_KEY": ConfigurationFixture.masterKey,
            ]
        )
        let secrets = try Secrets.load(fixture.load().configuration, directory: directory)
        #expect(secrets.jwtSecret.exposed == ConfigurationFixture.jwtSecret)
        #expect(secrets.masterKeys.current.exposed == [UInt8](repeating: 0x0F, count: 32))
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.secretsDirectory).isEmpty)
    }

    @Test func anExternalDatabaseGeneratesNothing() throws {
        let temporary = try TemporaryDirectory()
        let directory = try temporary.dataDirectory()
        var configuration = Configuration.defaults
        configuration.database.host = "db"
        #expect(throws: StartError.self) { try Secrets.load(configuration, directory: directory) }
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.secretsDirectory).isEmpty)
    }

    @Test func aDamagedFileIsAnErrorAndIsNotReplaced() throws {
        let temporary = try TemporaryDirectory()
        let directory = try temporary.dataDirectory()
        for file in [directory.jwtSecretFile, directory.masterKeyFile] {
            try PrivateFile.write("hunter2", to: file)
            let error = try #require(throws: StartError.self) { try Secrets.load(.defaults, directory: directory) }
            #expect(error.path == file)
            #expect(!error.description.contains("hunter2"))
            #expect(try PrivateFile.read(file) == "hunter2")
            try FileManager.default.removeItem(atPath: file)
        }
    }

    @Test func keysAreReadAsBase64OrHexadecimal() {
        let bytes = (0..<32).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 200) }
        let hexadecimal = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(KeyText.bytes(of: hexadecimal) == bytes)
        #expect(KeyText.bytes(of: hexadecimal.uppercased()) == bytes)
        #expect(KeyText.bytes(of: KeyText.base64(bytes)) == bytes)
        #expect(KeyText.bytes(of: KeyText.base64(Array(bytes.dropLast()))) == nil)
        #expect(KeyText.bytes(of: String(hexadecimal.dropLast())) == nil)
        #expect(KeyText.bytes(of: hexadecimal + " ") == nil)
        #expect(KeyText.bytes(of: "") == nil)
    }

    @Test func theFirstPasswordIsReadableStrongAndKeptInItsFile() throws {
        let temporary = try TemporaryDirectory()
        let directory = try temporary.dataDirectory()
        let first = try FirstAdminPassword.prepare(.defaults, directory: directory)
        #expect(first.file == directory.initialAdminPasswordFile)
        #expect(first.password.exposed.count == 29)
        #expect(first.password.exposed.wholeMatch(of: /[a-hjkmnp-z2-9]{5}(-[a-hjkmnp-z2-9]{5}){4}/) != nil)
        #expect(try TemporaryDirectory.mode(of: directory.initialAdminPasswordFile) == 0o600)
        #expect(try PrivateFile.read(directory.initialAdminPasswordFile) == first.password.exposed + "\n")
        // A first start that was interrupted goes on with the same one.
        #expect(try FirstAdminPassword.prepare(.defaults, directory: directory).password == first.password)
        #expect(!"\(first)".contains(first.password.exposed))
    }

    @Test func theConfiguredFirstPasswordIsNotWritten() throws {
        let temporary = try TemporaryDirectory()
        let directory = try temporary.dataDirectory()
        let fixture = ConfigurationFixture(environment: ["NMSLITE_ADMIN_PASSWORD": "given"])
        let password = try FirstAdminPassword.prepare(fixture.load().configuration, directory: directory)
        #expect(password.password.exposed == "given")
        #expect(password.file == nil)
        #expect(try PrivateFile.read(directory.initialAdminPasswordFile) == nil)
    }

    @Test func everyPasswordDiffers() {
        var generator = FixedGenerator()
        let passwords = (0..<1000).map { _ in FirstAdminPassword.readable(&generator) }
        #expect(Set(passwords).count == 1000)
    }

    @Test func secretBytesDoNotShow() {
        let secrets = SecretBytes([0x68, 0x75])
        var text = "\(secrets) \(String(reflecting: secrets))"
        dump(secrets, to: &text)
        #expect(!text.contains("104") && !text.contains("68"))
    }
}
