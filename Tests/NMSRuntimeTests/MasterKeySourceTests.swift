import Foundation
import NMSCore
import Testing

@testable import NMSRuntime

@Suite struct MasterKeySourceTests {
    private static let given = SecretBytes([UInt8](repeating: 0x0F, count: 32))

    private let temporary: TemporaryDirectory
    private let directory: DataDirectory

    init() throws {
        self.temporary = try TemporaryDirectory()
        self.directory = try self.temporary.dataDirectory()
    }

    private func source(environment: [String: String] = [:], arguments: [String] = []) throws -> MasterKeySource {
        let fixture = ConfigurationFixture(arguments: arguments, environment: environment)
        return MasterKeySource(try fixture.load().configuration, directory: self.directory)
    }

    private var files: [String] {
        get throws { try FileManager.default.contentsOfDirectory(atPath: self.directory.secretsDirectory).sorted() }
    }

    @Test func theNextKeyIsGeneratedOnceAndTakesTheOthersPlace() throws {
        let source = try self.source()
        #expect(source.usesFiles)
        #expect(try #require(throws: StartError.self) { try source.load() }.path == self.directory.masterKeyFile)
        let current = try Secrets.load(.defaults, directory: self.directory).masterKeys
        #expect(current.next.isEmpty)
        let next = try source.prepareNext()
        #expect(next != current.current && next.exposed.count == 32)
        #expect(try TemporaryDirectory.mode(of: self.directory.nextMasterKeyFile) == 0o600)
        // A rotation that was cut off goes on with the same one, and servers have both.
        #expect(try source.prepareNext() == next)
        #expect(try source.load().all == [current.current, next])
        #expect(try Secrets.load(.defaults, directory: self.directory).masterKeys.all == [current.current, next])
        #expect(try source.promote(next) == self.directory.masterKeyFile)
        #expect(try source.load().all == [next])
        #expect(try self.files == ["jwt_secret", "master_key"])
        #expect(try TemporaryDirectory.mode(of: self.directory.masterKeyFile) == 0o600)
        #expect(try source.promote(next) == nil)
    }

    @Test func aGivenKeyIsPutWhereARunningServerFindsIt() throws {
        let current = try Secrets.load(.defaults, directory: self.directory).masterKeys.current
        let source = try self.source(environment: ["NMSLITE_MASTER_KEY_NEXT": ConfigurationFixture.masterKey])
        #expect(source.usesFiles)
        #expect(try source.load().all == [current, Self.given])
        #expect(try source.prepareNext() == Self.given)
        #expect(try self.source().load().all == [current, Self.given])
        #expect(try source.promote(Self.given) != nil)
        #expect(try self.source().load().all == [Self.given])
        // Still given afterwards, it changes nothing.
        #expect(try source.prepareNext() == Self.given)
        #expect(try self.files == ["jwt_secret", "master_key"])
    }

    @Test func anotherGivenKeyDoesNotReplaceTheOneOfARotationThatWasCutOff() throws {
        _ = try Secrets.load(.defaults, directory: self.directory)
        let next = try self.source().prepareNext()
        let source = try self.source(environment: ["NMSLITE_MASTER_KEY_NEXT": ConfigurationFixture.masterKey])
        let error = try #require(throws: StartError.self) { try source.prepareNext() }
        #expect(error.path == self.directory.nextMasterKeyFile)
        #expect(try self.source().load().next == [next])
        // All are known, so that whichever the database needs is there.
        #expect(try source.load().next == [next, Self.given])
    }

    @Test func configuredKeysNeedNoFileAndMakeNone() throws {
        let environment = ["NMSLITE_MASTER_KEY": String(repeating: "0a", count: 32)]
        let source = try self.source(environment: environment)
        #expect(!source.usesFiles)
        let error = try #require(throws: StartError.self) { try source.prepareNext() }
        #expect(error.description.contains("NMSLITE_MASTER_KEY_NEXT"))
        let both = try self.source(
            environment: environment.merging(["NMSLITE_MASTER_KEY_NEXT": ConfigurationFixture.masterKey]) { $1 }
        )
        #expect(try both.load().next == [Self.given])
        #expect(try both.prepareNext() == Self.given)
        #expect(try both.promote(Self.given) == nil)
        #expect(try self.files.isEmpty)
    }

    @Test func theNextKeyMayComeFromAFile() throws {
        let file = try self.temporary.write(ConfigurationFixture.masterKey + "\n", to: "next")
        var fixture = ConfigurationFixture(arguments: ["--encryption.master_key_next_file", file])
        fixture.files[file] = ConfigurationFixture.masterKey + "\n"
        let configuration = try fixture.load().configuration
        #expect(configuration.encryption.masterKeyNext?.exposed == ConfigurationFixture.masterKey)
    }

    @Test func aDamagedNextKeyIsAnErrorAndIsNotReplaced() throws {
        _ = try Secrets.load(.defaults, directory: self.directory)
        try PrivateFile.write("hunter2", to: self.directory.nextMasterKeyFile)
        for attempt in [{ _ = try self.source().load() }, { _ = try self.source().prepareNext() }] {
            let error = try #require(throws: StartError.self) { try attempt() }
            #expect(error.path == self.directory.nextMasterKeyFile && !error.description.contains("hunter2"))
        }
        #expect(try PrivateFile.read(self.directory.nextMasterKeyFile) == "hunter2")
    }

    @Test func keysDoNotShow() throws {
        let keys = try Secrets.load(.defaults, directory: self.directory).masterKeys
        var text = "\(keys) \(String(reflecting: keys))"
        dump(keys, to: &text)
        #expect(!text.contains("\(keys.current.exposed[0]), \(keys.current.exposed[1])"))
    }
}
