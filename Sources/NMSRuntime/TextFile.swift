#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Reads small text files.
package enum TextFile {
    enum Failure: Error {
        case absent
        case tooLong
        case notUTF8
        case system(Int32)
    }

    /// Longest file that is read, in bytes.
    static let sizeLimit = ConfigurationFile.sizeLimit

    /// The file's text; nil when it does not exist. Reads pipes too (`/dev/fd/3`), and never more than the limit.
    package static func read(_ path: String) throws -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw Failure.system(errno)
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = FileDescriptor.read(descriptor, into: &buffer)
            if count < 0 {
                guard errno == EINTR else { throw Failure.system(errno) }
                continue
            }
            if count == 0 { break }
            bytes += buffer[..<count]
            guard bytes.count <= self.sizeLimit else { throw Failure.tooLong }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw Failure.notUTF8 }
        return text
    }

    /// A clause for a message, without anything of the content.
    static func reason(_ error: any Error) -> String {
        switch error {
        case Failure.absent: "it does not exist"
        case Failure.tooLong: "it is longer than \(self.sizeLimit) bytes"
        case Failure.notUTF8: "it is not UTF-8 text"
        case Failure.system(let code): unsafe String(cString: strerror(code))
        default: "reading failed"
        }
    }

    /// Editors and `echo` end a file with a newline that is no part of a secret.
    static func withoutFinalNewline(_ text: String) -> String {
        text.last?.isNewline == true ? String(text.dropLast()) : text
    }
}
