package import Glibc

/// Directories and files that only one user may look into.
package enum PrivateDirectory {
    /// Makes `path` a directory of `owner` with exactly `mode`, or sees to it that it is one.
    ///
    /// The parent must exist. Whoever owned it before loses it, unless `adopting` is false.
    /// - Throws: ``SupervisionError/directoryUnsafe(path:reason:)`` for a symbolic link, another kind of file, or
    ///   another owner when it may not be adopted.
    package static func prepare(_ path: String, mode: mode_t, owner: ServiceUser, adopting: Bool = true) throws {
        if mkdir(path, mode) != 0, errno != EEXIST {
            throw SupervisionError.system(operation: "make directory", path: path, code: errno)
        }
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else {
            let code = errno
            guard code == ENOTDIR || code == ELOOP else {
                throw SupervisionError.system(operation: "open directory", path: path, code: code)
            }
            throw SupervisionError.directoryUnsafe(path: path, reason: "it is not a directory")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw SupervisionError.system(operation: "look at", path: path, code: errno)
        }
        if status.st_uid != owner.uid || status.st_gid != owner.gid {
            guard adopting || status.st_uid == owner.uid || status.st_uid == geteuid() else {
                throw SupervisionError.directoryUnsafe(path: path, reason: "it belongs to user \(status.st_uid)")
            }
            guard fchown(descriptor, owner.uid, owner.gid) == 0 else {
                throw SupervisionError.system(operation: "change owner of", path: path, code: errno)
            }
        }
        guard fchmod(descriptor, mode) == 0 else {
            throw SupervisionError.system(operation: "change mode of", path: path, code: errno)
        }
    }

    /// Writes a file of `owner` with mode 0600, replacing what was there as a whole and following no link.
    package static func write(_ text: String, to path: String, owner: ServiceUser) throws {
        let temporary = path + ".new"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SupervisionError.system(operation: "create", path: temporary, code: errno) }
        defer { close(descriptor) }
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw SupervisionError.system(operation: "write", path: temporary, code: errno) }
            rest = rest.dropFirst(count)
        }
        if owner.isOther, fchown(descriptor, owner.uid, owner.gid) != 0 {
            throw SupervisionError.system(operation: "change owner of", path: temporary, code: errno)
        }
        guard fsync(descriptor) == 0, rename(temporary, path) == 0 else {
            throw SupervisionError.system(operation: "write", path: path, code: errno)
        }
    }
}
