internal import CProcessGuard
internal import Glibc

/// An advisory lock on a directory, held until this value and every process that inherited it are gone.
package final class DirectoryLock: Sendable {
    package let path: String
    /// For handing on to children; close-on-exec here.
    package let fileDescriptor: Int32

    private init(path: String, fileDescriptor: Int32) {
        self.path = path
        self.fileDescriptor = fileDescriptor
    }

    deinit {
        // The file stays: unlinking it would let two processes lock two files of one name.
        close(self.fileDescriptor)
    }

    /// How often a waiting process tries again.
    static let retryInterval: Duration = .milliseconds(100)

    /// Takes the lock file `name` in `directory` at once, and writes this process's id into it.
    /// - Throws: ``SupervisionError/directoryInUse(directory:pid:)``.
    package static func acquire(directory: String, name: String) throws -> DirectoryLock {
        let lock = try self.open(directory: directory, name: name)
        guard try lock.tryLock() else {
            throw SupervisionError.directoryInUse(directory: directory, pid: lock.holder())
        }
        lock.writeHolder()
        return lock
    }

    /// Waits for the lock file `name` in `directory`, which the children of an earlier process may still hold.
    /// - Throws: ``SupervisionError/childrenStillRunning(directory:waited:)``, or `CancellationError`.
    package static func acquire(
        directory: String,
        name: String,
        waitingUpTo limit: Duration,
        clock: any Clock<Duration> = ContinuousClock()
    ) async throws -> DirectoryLock {
        let lock = try self.open(directory: directory, name: name)
        var waited: Duration = .zero
        while try !lock.tryLock() {
            guard waited < limit else {
                throw SupervisionError.childrenStillRunning(directory: directory, waited: limit)
            }
            try await clock.sleep(for: self.retryInterval)
            waited += self.retryInterval
        }
        lock.writeHolder()
        return lock
    }

    private static func open(directory: String, name: String) throws -> DirectoryLock {
        let path = directory + "/" + name
        let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw SupervisionError.system(operation: "open", path: path, code: errno) }
        return DirectoryLock(path: path, fileDescriptor: descriptor)
    }

    private func tryLock() throws -> Bool {
        let code = nms_flock_exclusive_nonblocking(self.fileDescriptor)
        if code == EWOULDBLOCK { return false }
        guard code == 0 else { throw SupervisionError.system(operation: "lock", path: self.path, code: code) }
        return true
    }

    private func writeHolder() {
        let text = "\(getpid())\n"
        // Only a hint for people: failing to write it changes nothing.
        _ = ftruncate(self.fileDescriptor, 0)
        _ = pwrite(self.fileDescriptor, text, text.utf8.count, 0)
    }

    private func holder() -> Int? {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 32) { buffer in
            let count = pread(self.fileDescriptor, buffer.baseAddress, buffer.count, 0)
            guard count > 0 else { return nil }
            return Int(String(decoding: buffer[..<count], as: UTF8.self).prefix { $0.isNumber })
        }
    }
}
