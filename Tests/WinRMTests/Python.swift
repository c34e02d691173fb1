import Foundation

/// The Python that tests against third-party code run.
enum Python {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private static var root: URL {
        URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    }

    /// `NMSLITE_TEST_PYTHON`, else `.venv/bin/python` in the package.
    static func executable() throws -> URL {
        let path =
            ProcessInfo.processInfo.environment["NMSLITE_TEST_PYTHON"]
            ?? self.root.appending(path: ".venv/bin/python").path
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw Failure(
                description: "no Python at \(path): "
                    + "set NMSLITE_TEST_PYTHON to a Python with the packages of scripts/requirements.txt"
            )
        }
        return URL(filePath: path)
    }

    /// A process of a script in `Tests/Interop`, not started yet.
    static func process(_ script: String, _ arguments: [String] = []) throws -> Process {
        let process = Process()
        process.executableURL = try self.executable()
        process.arguments = [self.root.appending(path: "Tests/Interop/\(script)").path] + arguments
        return process
    }

    /// Runs a script to its end.
    static func run(_ script: String, _ arguments: [String] = [], input: Data) throws -> Data {
        let process = try self.process(script, arguments)
        let standardInput = Pipe()
        let standardOutput = Pipe()
        process.standardInput = standardInput
        process.standardOutput = standardOutput
        try process.run()
        try standardInput.fileHandleForWriting.write(contentsOf: input)
        try standardInput.fileHandleForWriting.close()
        let output = try standardOutput.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw Failure(description: "\(script) ended with status \(process.terminationStatus)")
        }
        return output
    }
}
