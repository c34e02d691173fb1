package import Foundation
internal import Glibc

/// Where output goes, and what may be done there.
package struct Terminal: Sendable {
    /// Bars are drawn over, so that every state is seen.
    package let isInteractive: Bool
    package let style: TextStyler
    private let descriptor: Int32

    package static let standardOutput = Terminal(STDOUT_FILENO)
    package static let standardError = Terminal(STDERR_FILENO)
    /// Where the terminal does not tell.
    private static let defaultSize = (columns: 80, rows: 24)

    private init(_ descriptor: Int32) {
        let environment = ProcessInfo.processInfo.environment
        self.descriptor = descriptor
        self.isInteractive = isatty(descriptor) == 1 && environment["TERM"] != "dumb"
        self.style = TextStyler(
            hasColor: self.isInteractive && (environment["NO_COLOR"] ?? "").isEmpty,
            isUnicode: Self.isUnicode(environment)
        )
    }

    /// The locale's character set, by the first variable that is set (POSIX, locale).
    static func isUnicode(_ environment: [String: String]) -> Bool {
        let names = ["LC_ALL", "LC_CTYPE", "LANG"]
        guard let locale = names.compactMap({ environment[$0] }).first(where: { !$0.isEmpty }) else { return false }
        let name = locale.uppercased()
        return name.contains("UTF-8") || name.contains("UTF8")
    }

    /// In columns and rows.
    package var size: (columns: Int, rows: Int) {
        var size = winsize()
        guard ioctl(self.descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else {
            return Self.defaultSize
        }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    /// In columns.
    package var width: Int { self.size.columns }
    /// Tables in files are never cut.
    package var tableWidth: Int? { self.isInteractive ? self.width : nil }

    package func write(_ text: String) {
        // A reader that has gone away is no reason to end by a trap.
        try? FileHandle(fileDescriptor: self.descriptor).write(contentsOf: Data(text.utf8))
    }

    package func bold(_ text: String) -> String { self.style.apply(.bold, to: text) }
}
