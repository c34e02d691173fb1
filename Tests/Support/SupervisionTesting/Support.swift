internal import Foundation
internal import Glibc
package import Supervision

/// What tests of supervised servers share.
package enum SupervisionTesting {
    /// `guardtool`, which the build puts beside the tests' executable.
    package static var guardExecutable: GuardExecutable {
        let tests = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return GuardExecutable(path: (tests as NSString).deletingLastPathComponent + "/guardtool")
    }

    /// A new directory that every user can enter, removed by ``remove(_:)``.
    package static func makeDirectory(in parent: String = "/tmp", mode: Int = 0o711) throws -> String {
        let path = parent + "/nmstest-" + UUID().uuidString.prefix(8).lowercased()
        let attributes: [FileAttributeKey: Any] = [.posixPermissions: mode]
        try FileManager.default.createDirectory(
            atPath: path,
            withIntermediateDirectories: false,
            attributes: attributes
        )
        return path
    }

    package static func remove(_ path: String) {
        try? FileManager.default.removeItem(atPath: path)
    }

    /// Runs `body` with a directory of its own.
    package static func withDirectory<Result>(
        _ body: (String) async throws -> Result
    ) async throws -> Result {
        let path = try self.makeDirectory()
        defer { self.remove(path) }
        return try await body(path)
    }

    /// Waits until `condition` holds; false when it doesn't within `limit`.
    package static func eventually(
        within limit: Duration = .seconds(10),
        _ condition: () async throws -> Bool
    ) async rethrows -> Bool {
        let clock = ContinuousClock()
        let deadline = clock.now + limit
        while clock.now < deadline {
            if try await condition() { return true }
            try? await clock.sleep(for: .milliseconds(20))
        }
        return try await condition()
    }

    /// Whether a process exists and is not just waiting to be reaped.
    package static func isAlive(_ pid: Int32) -> Bool {
        guard let status = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
            let end = status.lastIndex(of: ")")
        else { return false }
        return !["Z", "X"].contains(status[status.index(end, offsetBy: 2)])
    }

    /// The ids of processes whose command line contains `text`.
    package static func processes(containing text: String) -> [Int32] {
        let entries = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return entries.compactMap { entry -> Int32? in
            guard let pid = Int32(entry), pid != getpid(), self.isAlive(pid),
                let line = FileManager.default.contents(atPath: "/proc/\(entry)/cmdline"),
                String(decoding: line, as: UTF8.self).contains(text)
            else { return nil }
            return pid
        }
    }

    /// The processes whose parent is `pid`.
    package static func children(of pid: Int32) -> [Int32] {
        let text = (try? String(contentsOfFile: "/proc/\(pid)/task/\(pid)/children", encoding: .utf8)) ?? ""
        return text.split(separator: " ").compactMap { Int32($0) }
    }
}
