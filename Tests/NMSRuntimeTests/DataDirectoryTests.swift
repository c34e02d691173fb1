import Foundation
import Testing

@testable import NMSRuntime

@Suite struct DataDirectoryTests {
    @Test func thePathFollowsTheRule() throws {
        #expect(DataDirectory.defaultPath(isRoot: true) == "/var/lib/nmslite")
        #expect(DataDirectory.defaultPath(isRoot: false) == "./nmslite-data")
        let working = FileManager.default.currentDirectoryPath
        #expect(DataDirectory(path: "./a/../b").path == working + "/b")
        let fixture = ConfigurationFixture(arguments: ["--data_dir", "/srv/x/"])
        #expect(try DataDirectory(fixture.load().configuration).path == "/srv/x")
    }

    @Test func preparationMakesItWithItsModesAndIsRepeatable() throws {
        let temporary = try TemporaryDirectory()
        let directory = DataDirectory(path: temporary.path + "/a/b/data")
        try directory.prepare()
        try directory.prepare()
        #expect(try TemporaryDirectory.mode(of: directory.path) == 0o711)
        #expect(try TemporaryDirectory.mode(of: directory.tlsDirectory) == 0o711)
        #expect(try TemporaryDirectory.mode(of: directory.secretsDirectory) == 0o700)
    }

    @Test(arguments: [("", 0o777), ("", 0o731), ("/secrets", 0o750), ("/secrets", 0o701), ("/tls", 0o722)])
    func whatOthersMayChangeOrReadIsRefusedWithTheCommandThatMendsIt(_ name: String, _ mode: Int) throws {
        let temporary = try TemporaryDirectory()
        let data = try temporary.dataDirectory()
        try TemporaryDirectory.setMode(mode, of: data.path + name)
        let error = try #require(throws: StartError.self) { try data.prepare() }
        #expect(error.path == data.path + name)
        #expect(error.remedy.hasPrefix("Run: chmod 0"))
    }

    @Test func aModeThatOnlyLetsOthersLookIsTolerated() throws {
        let temporary = try TemporaryDirectory()
        let data = try temporary.dataDirectory()
        try TemporaryDirectory.setMode(0o755, of: data.path)
        try data.prepare()
    }

    @Test func aFileInItsPlaceIsRefused() throws {
        let temporary = try TemporaryDirectory()
        let path = try temporary.write("x", to: "data")
        let error = try #require(throws: StartError.self) { try DataDirectory(path: path).prepare() }
        #expect(error.problem == "it is not a directory")
        let below = try #require(throws: StartError.self) { try DataDirectory(path: path + "/deeper").prepare() }
        #expect(below.problem.contains("it cannot be made"))
    }

    @Test(.enabled(if: geteuid() == 0, "only root can give files away"))
    func anotherOwnerIsRefused() throws {
        let temporary = try TemporaryDirectory()
        let data = try temporary.dataDirectory()
        #expect(chown(data.path, 65_534, 65_534) == 0)
        let error = try #require(throws: StartError.self) { try data.prepare() }
        #expect(error.description.contains("belongs to user 65534"))
    }
}

@Suite struct PrivateFileTests {
    @Test func writingMakesOrReplacesTheFileForItsOwnerAlone() throws {
        let temporary = try TemporaryDirectory()
        let path = temporary.path + "/s"
        #expect(try PrivateFile.read(path) == nil)
        try PrivateFile.write("one", to: path)
        // What a crash left behind must not stop the next writing.
        _ = try temporary.write("half", to: "s.new", mode: 0o644)
        try PrivateFile.write("two", to: path)
        #expect(try PrivateFile.read(path) == "two")
        #expect(try TemporaryDirectory.mode(of: path) == 0o600)
        #expect(try FileManager.default.contentsOfDirectory(atPath: temporary.path) == ["s"])
    }

    @Test(arguments: [0o640, 0o604, 0o620])
    func aFileOpenToOthersIsRefused(_ mode: Int) throws {
        let temporary = try TemporaryDirectory()
        let path = try temporary.write("hunter2", to: "s", mode: mode)
        let error = try #require(throws: StartError.self) { try PrivateFile.read(path) }
        #expect(error.remedy.contains("chmod 600"))
        #expect(!error.description.contains("hunter2"))
    }

    @Test func linksAndDirectoriesAreRefused() throws {
        let temporary = try TemporaryDirectory()
        let target = try temporary.write("x", to: "target")
        let link = temporary.path + "/link"
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: target)
        #expect(throws: StartError.self) { try PrivateFile.read(link) }
        #expect(throws: StartError.self) { try PrivateFile.read(temporary.path) }
    }
}
