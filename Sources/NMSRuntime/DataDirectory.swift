import Foundation
#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The directory of everything that an instance keeps: its layout, its creation and its permissions (design §2).
package struct DataDirectory: Sendable, Equatable {
    /// Absolute.
    package let path: String

    /// - Parameter path: relative ones count from the working directory.
    package init(path: String) {
        self.path = URL(fileURLWithPath: path).standardizedFileURL.path
    }

    /// `data_dir`, or the default for this user.
    package init(_ configuration: Configuration) {
        self.init(path: configuration.dataDir ?? Self.defaultPath(isRoot: geteuid() == 0))
    }

    /// `/var/lib/nmslite` for root, else `./nmslite-data`.
    package static func defaultPath(isRoot: Bool) -> String { isRoot ? "/var/lib/nmslite" : "./nmslite-data" }

    // MARK: Layout

    /// File whose lock the one server that uses the directory holds.
    package static let lockName = "nmslite.lock"
    /// File whose lock is held as long as a child of the server lives.
    package static let childrenLockName = "children.lock"
    /// Of the embedded PostgreSQL; made by its room, mode 0700.
    package var postgresDirectory: String { self.path + "/postgres" }
    /// Of the embedded NATS; made by its room, mode 0700.
    package var natsDirectory: String { self.path + "/nats" }
    package var tlsDirectory: String { self.path + "/tls" }
    /// Readable by everyone, for clients that are to trust it.
    package var certificateFile: String { self.tlsDirectory + "/server.crt" }
    package var privateKeyFile: String { self.tlsDirectory + "/server.key" }
    package var secretsDirectory: String { self.path + "/secrets" }
    package var jwtSecretFile: String { self.secretsDirectory + "/jwt_secret" }
    package var masterKeyFile: String { self.secretsDirectory + "/master_key" }
    /// Of the key that takes its place; there while the master key is rotated.
    package var nextMasterKeyFile: String { self.secretsDirectory + "/master_key_next" }
    package var initialAdminPasswordFile: String { self.path + "/initial-admin-password" }

    // MARK: Creation

    /// Others may pass through, to the children's directories that belong to another user, but not look around.
    static let mode: mode_t = 0o711
    static let secretsMode: mode_t = 0o700

    /// Makes what is missing and checks what is there: a directory, owned by this user, writable by no other.
    ///
    /// - Throws: what is wrong and the command that mends it.
    package func prepare() throws(StartError) {
        try Self.makeDirectory(self.path, mode: Self.mode, parents: true)
        try Self.makeDirectory(self.tlsDirectory, mode: Self.mode)
        try Self.makeDirectory(self.secretsDirectory, mode: Self.secretsMode)
    }

    private static func makeDirectory(_ path: String, mode: mode_t, parents: Bool = false) throws(StartError) {
        if mkdir(path, mode) == 0 {
            // mkdir's mode was narrowed by the umask.
            guard chmod(path, mode) == 0 else { throw self.failure(path, "its mode cannot be set", errno) }
            return
        }
        let code = errno
        if code == ENOENT, parents {
            let parent = URL(fileURLWithPath: path).deletingLastPathComponent().path
            guard parent != path else { throw self.failure(path, "it cannot be made", code) }
            // Directories on the way are ordinary ones; only the last is NMSlite's.
            try self.makeParent(parent)
            return try self.makeDirectory(path, mode: mode)
        }
        guard code == EEXIST else { throw self.failure(path, "it cannot be made", code) }
        try self.check(path, mode: mode)
    }

    private static func makeParent(_ path: String) throws(StartError) {
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw StartError(path: path, problem: "it cannot be made", remedy: "Make it, or choose another --data_dir.")
        }
    }

    private static func check(_ path: String, mode: mode_t) throws(StartError) {
        guard let status = FileStatus(path: path) else { throw self.failure(path, "it cannot be examined", errno) }
        guard status.isDirectory else {
            throw StartError(
                path: path,
                problem: "it is not a directory",
                remedy: "Move it away, or choose another --data_dir."
            )
        }
        guard status.owner == geteuid() else {
            throw StartError(
                path: path,
                problem: "it belongs to user \(status.owner), and NMSlite runs as user \(geteuid())",
                remedy: "Run as its owner, or: chown \(geteuid()) '\(path)'"
            )
        }
        let excess = status.mode & 0o777 & ~mode & (mode == self.secretsMode ? 0o077 : 0o022)
        guard excess == 0 else {
            let verb = mode == self.secretsMode ? "enter" : "write to"
            throw StartError(
                path: path,
                problem: "others may \(verb) it (mode \(status.octalMode))",
                remedy: "Run: chmod 0\(String(mode, radix: 8)) '\(path)'"
            )
        }
    }

    private static func failure(_ path: String, _ problem: String, _ code: Int32) -> StartError {
        let reason = unsafe String(cString: strerror(code))
        return StartError(
            path: path,
            problem: "\(problem) (\(reason))",
            remedy: "Give this user access to it, or choose another --data_dir."
        )
    }
}
