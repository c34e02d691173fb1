/// How a piece of text stands out.
package enum TextStyle: String, Sendable {
    case bold = "1"
    case dim = "2"
    case red = "31"
    case green = "32"
    case yellow = "33"
    case cyan = "36"
    case reversed = "7"
}

/// What the output can show: colours (not on files, nor with `NO_COLOR`, no-color.org) and characters beyond ASCII.
package struct TextStyler: Sendable, Equatable {
    package var hasColor: Bool
    package var isUnicode: Bool

    package static let plain = TextStyler(hasColor: false, isUnicode: false)

    package init(hasColor: Bool, isUnicode: Bool) {
        self.hasColor = hasColor
        self.isUnicode = isUnicode
    }

    package func apply(_ style: TextStyle?, to text: String) -> String {
        guard self.hasColor, let style, !text.isEmpty else { return text }
        return "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m"
    }

    package var ellipsis: String { self.isUnicode ? "…" : "~" }
    package var arrow: String { self.isUnicode ? "→" : "->" }
}

/// Text of hosts and servers, made harmless.
package enum PrintableText {
    /// Without what could steer a terminal: control and format characters, also those that turn the direction of text.
    package static func of(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.filter { scalar in
                    switch scalar.properties.generalCategory {
                    case .control, .format, .surrogate, .privateUse, .lineSeparator, .paragraphSeparator: false
                    default: true
                    }
                }
            )
        )
    }

    /// Columns that a terminal gives to a text.
    package static func width(_ text: some StringProtocol) -> Int {
        text.unicodeScalars.reduce(0) { $0 + self.width($1) }
    }

    private static func width(_ scalar: Unicode.Scalar) -> Int {
        // Nearly all text.
        if scalar.value < 0x300 { return 1 }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .format: return 0
        default: return Self.isWide(scalar.value) ? 2 : 1
        }
    }

    /// Unicode Standard Annex 11, East Asian Width: wide and full-width, in blocks.
    private static func isWide(_ value: UInt32) -> Bool {
        switch value {
        case 0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xA000...0xA4CF,
            0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F,
            0x1F900...0x1F9FF, 0x20000...0x3FFFD:
            true
        default: false
        }
    }

    /// At most `width` columns, with a mark where something is missing.
    package static func fitted(_ text: String, width: Int, ellipsis: String) -> String {
        guard self.width(text) > width else { return text }
        guard width > 0 else { return "" }
        var kept = ""
        var used = self.width(ellipsis)
        for character in text {
            used += self.width(String(character))
            if used > width { break }
            kept.append(character)
        }
        return kept + ellipsis
    }

    /// Lines of at most `width` columns, broken at spaces; a word that is longer stands alone.
    package static func wrapped(_ text: String, width: Int?) -> [String] {
        guard let width else { return [text] }
        var lines: [String] = []
        for word in text.split(separator: " ") {
            if let last = lines.last, self.width(last) + 1 + self.width(word) <= width {
                lines[lines.count - 1] = last + " " + word
            } else {
                lines.append(String(word))
            }
        }
        return lines
    }
}
