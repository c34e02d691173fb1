/// Cuts a child's output into lines, bounded in length and in number.
struct LineSplitter {
    /// Bytes of a line that are kept.
    static let lineLimit = 2048
    /// Lines a second that are passed on.
    static let rateLimit = 200

    private var line: [UInt8] = []
    private var cut = false
    private var second = 0
    private var passed = 0
    private var dropped = 0

    /// The whole lines that `bytes` completes; `second` is a clock that counts seconds.
    mutating func feed(_ bytes: some Sequence<UInt8>, second: Int) -> [String] {
        var lines: [String] = []
        for byte in bytes {
            if byte == UInt8(ascii: "\n") {
                self.endLine(second: second, into: &lines)
            } else if self.line.count < Self.lineLimit {
                self.line.append(byte)
            } else {
                self.cut = true
            }
        }
        return lines
    }

    /// What is left when the output ends.
    mutating func finish(second: Int) -> [String] {
        var lines: [String] = []
        if !self.line.isEmpty { self.endLine(second: second, into: &lines) }
        self.reportDropped(into: &lines)
        return lines
    }

    private mutating func endLine(second: Int, into lines: inout [String]) {
        defer {
            self.line.removeAll(keepingCapacity: true)
            self.cut = false
        }
        if second != self.second {
            self.reportDropped(into: &lines)
            self.second = second
            self.passed = 0
        }
        guard self.passed < Self.rateLimit else {
            self.dropped += 1
            return
        }
        if self.line.last == UInt8(ascii: "\r") { self.line.removeLast() }
        guard !self.line.isEmpty else { return }
        self.passed += 1
        lines.append(String(decoding: self.line, as: UTF8.self) + (self.cut ? "…" : ""))
    }

    private mutating func reportDropped(into lines: inout [String]) {
        if self.dropped > 0 { lines.append("(\(self.dropped) lines left out)") }
        self.dropped = 0
    }
}
