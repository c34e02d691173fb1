internal import Foundation
internal import Glibc
internal import Logging
internal import Supervision

/// The files of an embedded server: makes the cluster once, and keeps it startable.
struct EmbeddedPostgresCluster: Sendable {
    let files: EmbeddedPostgresFiles
    let user: ServiceUser
    let guardExecutable: GuardExecutable
    let lock: DirectoryLock?
    let logger: Logger

    /// The programs to use, after making the cluster when there is none.
    func prepare(preferring directory: String?) async throws -> EmbeddedPostgresBinaries {
        let found = try await EmbeddedPostgresBinaries.find(
            preferring: directory,
            user: self.user,
            guardExecutable: self.guardExecutable
        )
        guard !found.isEmpty else { throw EmbeddedPostgresError.binariesMissing }
        try await self.removeUnfinished()
        guard let version = try self.dataVersion() else {
            let binaries = found[0]
            try await self.initialise(with: binaries)
            return binaries
        }
        guard let binaries = EmbeddedPostgresBinaries.choose(from: found, dataVersion: Int(version)) else {
            throw EmbeddedPostgresError.otherMajorVersion(
                directory: self.files.data,
                data: version,
                found: found.map(\.majorVersion)
            )
        }
        return binaries
    }

    /// What PG_VERSION says; nil when there is no cluster.
    private func dataVersion() throws -> String? {
        var status = stat()
        guard lstat(self.files.data, &status) == 0 else { return nil }
        guard let text = try? String(contentsOfFile: self.files.version, encoding: .utf8) else {
            throw EmbeddedPostgresError.notACluster(directory: self.files.data)
        }
        return text.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Makes the cluster beside its place and renames it as a whole: an interrupted attempt leaves nothing behind that
    /// looks like a cluster.
    private func initialise(with binaries: EmbeddedPostgresBinaries) async throws {
        let unfinished =
            self.files.directory + "/" + EmbeddedPostgresFiles.unfinishedPrefix
            + String(UInt32.random(in: .min ... .max), radix: 16)
        self.logger.info("making a PostgreSQL \(binaries.majorVersion) database in \(self.files.data)")
        let configuration = ChildConfiguration(
            name: "initdb",
            executable: binaries.initdb,
            arguments: [
                "--pgdata", unfinished, "--username", EmbeddedPostgres.superuser, "--encoding", "UTF8",
                // Sorted by code point: indices don't depend on the C library's version.
                "--locale", "C", "--auth-local", "peer", "--auth-host", "reject", "--data-checksums",
            ],
            user: self.user,
            workingDirectory: self.files.directory
        )
        let (exit, lines) = try await ChildProcess.run(
            configuration,
            guardExecutable: self.guardExecutable,
            lock: self.lock
        )
        try Task.checkCancellation()
        guard exit.isSuccess else {
            throw EmbeddedPostgresError.initialisationFailed(reason: "\(exit)", lastLines: lines.suffix(5))
        }
        let settings = unfinished + "/postgresql.conf"
        let text = try String(contentsOfFile: settings, encoding: .utf8) + EmbeddedPostgresFiles.initialSettings
        try PrivateDirectory.write(text, to: settings, owner: self.user)
        guard rename(unfinished, self.files.data) == 0 else {
            throw SupervisionError.system(operation: "rename to", path: self.files.data, code: errno)
        }
        self.synchroniseDirectory()
    }

    /// The rename survives a power failure.
    private func synchroniseDirectory() {
        let descriptor = open(self.files.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        fsync(descriptor)
        close(descriptor)
    }

    /// Removes what an interrupted `initdb` left, as the child user: root must not follow what that user may have put
    /// there.
    private func removeUnfinished() async throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: self.files.directory)
        let paths = names.filter { $0.hasPrefix(EmbeddedPostgresFiles.unfinishedPrefix) }
            .map { self.files.directory + "/" + $0 }
        guard !paths.isEmpty else { return }
        self.logger.notice("removing what an interrupted initdb left", metadata: ["paths": "\(paths)"])
        let configuration = ChildConfiguration(
            name: "rm",
            executable: "/bin/rm",
            arguments: ["-rf", "--"] + paths,
            user: self.user
        )
        _ = try await ChildProcess.run(configuration, guardExecutable: self.guardExecutable)
    }

    /// Removes lock files of a postmaster that is gone but whose process id lives on in another program.
    ///
    /// PostgreSQL itself removes those of ids that are free or another user's. But ids come round, quickly in a
    /// container, and the other program may be the same user's: then it would refuse to start for ever.
    func removeStaleLocks() {
        let places = [self.files.data + "/postmaster.pid", self.files.socket + ".lock"]
        for path in places where self.isStale(lockFile: path) {
            self.logger.notice("removing the stale lock file \(path)")
            unlink(path)
        }
    }

    private func isStale(lockFile path: String) -> Bool {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8),
            let pid = text.split(separator: "\n").first.flatMap({ Int32($0) }).map(abs), pid > 0
        else { return false }
        guard let name = try? String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8) else { return false }
        guard name.hasPrefix("postgres") else { return true }
        // Another cluster's server; when its directory can't be read, PostgreSQL decides.
        guard let place = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/cwd"),
            let data = realpath(self.files.data, nil)
        else { return false }
        defer { free(data) }
        return place != String(cString: data)
    }

    /// Lines begin with their severity. Errors of statements are told to who sent them, and matter little here.
    static func level(ofLine line: String) -> Logger.Level {
        if line.hasPrefix("PANIC:") { return .critical }
        if line.hasPrefix("FATAL:") {
            let expected = ["starting up", "shutting down", "administrator command"].contains { line.contains($0) }
            return expected ? .debug : .error
        }
        return line.hasPrefix("WARNING:") ? .warning : .debug
    }
}
