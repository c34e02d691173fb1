internal import Foundation
internal import Glibc
internal import Synchronization

/// A terminal that is drawn over in place: an alternate screen, keys without echo. ``close()`` gives it back as it was.
package final class LiveScreen: Sendable {
    /// What was pressed.
    package enum Key: Sendable, Equatable {
        case character(Character)
        case up, down, pageUp, pageDown, home, end
    }

    private static let pollMilliseconds: Int32 = 100

    private let terminal: Terminal
    private let state: Mutex<(original: termios?, isClosed: Bool)>

    /// - Parameter terminal: an interactive one.
    package init(_ terminal: Terminal) {
        self.terminal = terminal
        var original = termios()
        guard tcgetattr(STDIN_FILENO, &original) == 0 else {
            self.state = Mutex((nil, false))
            terminal.write("\u{1B}[?1049h\u{1B}[?25l")
            return
        }
        var raw = original
        raw.c_lflag &= ~tcflag_t(ECHO | ICANON)
        // Ctrl-C stays a signal; Ctrl-Z would leave the shell with this screen.
        withUnsafeMutableBytes(of: &raw.c_cc) { $0[Int(VSUSP)] = 0 }
        tcsetattr(STDIN_FILENO, TCSANOW, &raw)
        self.state = Mutex((original, false))
        terminal.write("\u{1B}[?1049h\u{1B}[?25l")
    }

    package func draw(_ lines: [String]) {
        let body = lines.map { $0 + "\u{1B}[K" }.joined(separator: "\n")
        self.terminal.write("\u{1B}[H\(body)\u{1B}[J")
    }

    /// Once; later calls do nothing.
    package func close() {
        self.state.withLock { state in
            guard !state.isClosed else { return }
            state.isClosed = true
            self.terminal.write("\u{1B}[?25h\u{1B}[?1049l")
            if var original = state.original { tcsetattr(STDIN_FILENO, TCSAFLUSH, &original) }
        }
    }

    private var isClosed: Bool { self.state.withLock { $0.isClosed } }

    /// Keys until the screen is closed, or the terminal goes away.
    package func keys() -> AsyncStream<Key> {
        AsyncStream { continuation in
            let thread = Thread {
                var buffer = [UInt8](repeating: 0, count: 64)
                while !self.isClosed {
                    var descriptor = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
                    let ready = poll(&descriptor, 1, Self.pollMilliseconds)
                    if ready == 0 || (ready < 0 && errno == EINTR) { continue }
                    let count = read(STDIN_FILENO, &buffer, buffer.count)
                    guard count > 0 else { break }
                    for key in Self.keys(in: Array(buffer[..<count])) { continuation.yield(key) }
                }
                continuation.finish()
            }
            thread.start()
        }
    }

    /// Keys of the bytes that a terminal sends at a time (ECMA-48, as xterm and VT220 use it); others are passed over.
    package static func keys(in bytes: [UInt8]) -> [Key] {
        let names: [String: Key] = [
            "[A": .up, "[B": .down, "OA": .up, "OB": .down, "[5~": .pageUp, "[6~": .pageDown, "[H": .home,
            "[F": .end, "[1~": .home, "[4~": .end, "OH": .home, "OF": .end,
        ]
        var keys: [Key] = []
        var rest = bytes[...]
        while let byte = rest.popFirst() {
            guard byte == 0x1B else {
                if (0x20..<0x7F).contains(byte) { keys.append(.character(Character(Unicode.Scalar(byte)))) }
                continue
            }
            guard let second = rest.first, second == UInt8(ascii: "[") || second == UInt8(ascii: "O") else { continue }
            rest.removeFirst()
            var sequence = [second]
            while let next = rest.popFirst() {
                sequence.append(next)
                if (0x40...0x7E).contains(next) { break }
            }
            if let key = names[String(decoding: sequence, as: UTF8.self)] { keys.append(key) }
        }
        return keys
    }
}
