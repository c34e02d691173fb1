#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif
import Synchronization

/// Where log lines end: one `write(2)` per line, one line at a time.
package final class LogSink: Sendable {
    /// The descriptor; nil once nobody reads it any more.
    private let descriptor: Mutex<Int32?>
    private let ownsDescriptor: Bool

    /// - Parameter descriptor: stays the caller's.
    init(descriptor: Int32, owned: Bool = false) {
        self.descriptor = Mutex(descriptor)
        self.ownsDescriptor = owned
    }

    deinit {
        if self.ownsDescriptor, let descriptor = self.descriptor.withLock({ $0 }) { close(descriptor) }
    }

    /// Opens `logging.output`; files are appended to, and made with mode 0600.
    package convenience init(_ output: LogOutput) throws(StartError) {
        switch output {
        case .standardOutput: self.init(descriptor: STDOUT_FILENO)
        case .standardError: self.init(descriptor: STDERR_FILENO)
        case .file(let path):
            let descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, PrivateFile.mode)
            guard descriptor >= 0 else {
                throw StartError(
                    path: path,
                    problem: "the log file cannot be opened (\(unsafe String(cString: strerror(errno))))",
                    remedy: "Set logging.output to stdout, or to a file that this user may write."
                )
            }
            self.init(descriptor: descriptor, owned: true)
        }
    }

    /// How long a line waits for a reader of a non-blocking pipe, in milliseconds, before it is dropped.
    private static let patience: Int32 = 1000

    /// Writes the line with its newline. A full disk or a reader that is gone loses the line, never the process.
    func write(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        self.descriptor.withLock { descriptor in
            guard let open = descriptor else { return }
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = FileDescriptor.write(rest, to: open)
                if count >= 0 {
                    rest = rest.dropFirst(count)
                    continue
                }
                switch errno {
                case EINTR: continue
                case EAGAIN:
                    var ready = pollfd(fd: open, events: Int16(POLLOUT), revents: 0)
                    guard unsafe poll(&ready, 1, Self.patience) > 0 else { return }
                case EPIPE, EBADF:
                    descriptor = nil
                    return
                default: return
                }
            }
        }
    }
}
