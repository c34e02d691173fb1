import Foundation

/// Where output goes, and what may be done there.
struct Terminal: Sendable {
    /// Bars are drawn over, so that every state is seen.
    let isInteractive: Bool
    /// Neither on files nor with `NO_COLOR` (no-color.org).
    let hasColor: Bool
    private let descriptor: Int32

    static let standardOutput = Terminal(STDOUT_FILENO)
    static let standardError = Terminal(STDERR_FILENO)
    /// Where the terminal does not tell.
    private static let defaultWidth = 80

    private init(_ descriptor: Int32) {
        let environment = ProcessInfo.processInfo.environment
        self.descriptor = descriptor
        self.isInteractive = isatty(descriptor) == 1 && environment["TERM"] != "dumb"
        self.hasColor = self.isInteractive && (environment["NO_COLOR"] ?? "").isEmpty
    }

    /// In columns.
    var width: Int {
        var size = winsize()
        guard ioctl(self.descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return Self.defaultWidth }
        return Int(size.ws_col)
    }

    func write(_ text: String) {
        FileHandle(fileDescriptor: self.descriptor).write(Data(text.utf8))
    }

    func bold(_ text: String) -> String { self.hasColor ? "\u{1B}[1m\(text)\u{1B}[0m" : text }
}
