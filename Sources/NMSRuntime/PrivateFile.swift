#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Files that only their owner may read, written so that a crash leaves the old content or the new one.
package enum PrivateFile {
    static let mode: mode_t = 0o600
    /// For certificates, which are no secret.
    static let publicMode: mode_t = 0o644

    /// The content; nil when there is no such file.
    ///
    /// - Throws: when it is not a regular file of this user that no other may read.
    package static func read(_ path: String) throws(StartError) -> String? {
        // O_NOFOLLOW: a link here would be someone else's doing.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw self.failure(path, "it cannot be opened", errno)
        }
        defer { close(descriptor) }
        guard let status = FileStatus(descriptor: descriptor) else {
            throw self.failure(path, "it cannot be examined", errno)
        }
        guard status.isRegular else {
            throw StartError(path: path, problem: "it is not a regular file", remedy: "Move it away.")
        }
        guard status.owner == geteuid() else {
            throw StartError(
                path: path,
                problem: "it belongs to user \(status.owner), and NMSlite runs as user \(geteuid())",
                remedy: "Run as its owner, or: chown \(geteuid()) '\(path)'"
            )
        }
        guard status.mode & 0o077 == 0 else {
            throw StartError(
                path: path,
                problem: "others may read it (mode \(status.octalMode))",
                remedy: "Run: chmod 600 '\(path)' (and consider what it holds as known)"
            )
        }
        do {
            return try TextFile.read(path)
        } catch {
            throw StartError(path: path, problem: TextFile.reason(error), remedy: "Restore it from a backup.")
        }
    }

    /// Replaces or makes the file: written beside it, synchronised, then renamed over it.
    ///
    /// The caller keeps other writers away (the data directory's lock).
    package static func write(_ text: String, to path: String) throws(StartError) {
        try self.write(text, to: path, mode: self.mode)
    }

    static func write(_ text: String, to path: String, mode: mode_t) throws(StartError) {
        let temporary = path + ".new"
        // Left over by a crash: never finished, so never anyone's only copy.
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, self.mode)
        guard descriptor >= 0 else { throw self.failure(temporary, "it cannot be made", errno) }
        var code: Int32 = 0
        if !FileDescriptor.writeAll(Array(text.utf8), to: descriptor) { code = errno }
        if code == 0, fchmod(descriptor, mode) != 0 { code = errno }
        if code == 0, fsync(descriptor) != 0 { code = errno }
        close(descriptor)
        if code == 0, systemRename(temporary, path) != 0 { code = errno }
        guard code == 0 else {
            unlink(temporary)
            throw self.failure(path, "it cannot be written", code)
        }
        self.synchroniseDirectory(of: path)
    }

    /// Gives a file the name of another of the same directory, which it replaces.
    static func rename(_ path: String, to other: String) throws(StartError) {
        guard systemRename(path, other) == 0 else { throw self.failure(other, "it cannot be replaced", errno) }
        self.synchroniseDirectory(of: other)
    }

    /// The name itself must survive a power failure too.
    private static func synchroniseDirectory(of path: String) {
        let directory = open(String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]), O_RDONLY | O_CLOEXEC)
        if directory >= 0 {
            fsync(directory)
            close(directory)
        }
    }

    private static func failure(_ path: String, _ problem: String, _ code: Int32) -> StartError {
        StartError(
            path: path,
            problem: "\(problem) (\(unsafe String(cString: strerror(code))))",
            remedy: "Give this user access to it, or choose another --data_dir."
        )
    }
}

// Outside the type, where the name is not shadowed by its member.
private func systemRename(_ path: String, _ other: String) -> Int32 { unsafe rename(path, other) }
