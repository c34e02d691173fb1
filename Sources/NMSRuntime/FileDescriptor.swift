#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The two system calls on descriptors, with Swift's arrays.
enum FileDescriptor {
    /// As `read(2)`: bytes read, 0 at the end, -1 with `errno` set.
    static func read(_ descriptor: Int32, into buffer: inout [UInt8]) -> Int {
        unsafe buffer.withUnsafeMutableBytes { unsafe systemRead(descriptor, $0.baseAddress, $0.count) }
    }

    /// As `write(2)`: bytes written, or -1 with `errno` set.
    static func write(_ bytes: ArraySlice<UInt8>, to descriptor: Int32) -> Int {
        unsafe bytes.withUnsafeBytes { unsafe systemWrite(descriptor, $0.baseAddress, $0.count) }
    }

    /// Writes everything, going on after interruptions; false with `errno` set when it can't.
    static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = self.write(rest, to: descriptor)
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }
}

// Outside the type, where the names are not shadowed by its members.
private func systemRead(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    unsafe read(descriptor, buffer, count)
}

private func systemWrite(_ descriptor: Int32, _ buffer: UnsafeRawPointer?, _ count: Int) -> Int {
    unsafe write(descriptor, buffer, count)
}

/// What `stat(2)` tells of a file.
struct FileStatus {
    let isDirectory: Bool
    let isRegular: Bool
    let owner: uid_t
    /// The permission bits, with set-user-id, set-group-id and sticky.
    let mode: mode_t

    /// Follows links; nil with `errno` set.
    init?(path: String) {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        self.init(status)
    }

    /// nil with `errno` set.
    init?(descriptor: Int32) {
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { return nil }
        self.init(status)
    }

    private init(_ status: stat) {
        self.isDirectory = status.st_mode & S_IFMT == S_IFDIR
        self.isRegular = status.st_mode & S_IFMT == S_IFREG
        self.owner = status.st_uid
        self.mode = status.st_mode & 0o7777
    }

    var octalMode: String { "0" + String(self.mode, radix: 8) }
}
