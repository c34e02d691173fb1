/// Text that came over the network from anyone.
package enum StrangersText {
    /// The longest DNS name has 253 characters.
    package static let defaultLimit = 255

    /// The text without what terminals, browsers and databases could take for more than text, cut to `limit` bytes of
    /// UTF-8; nil if nothing is left.
    ///
    /// Control and format characters (among them those that turn the direction of writing, and NUL, which PostgreSQL
    /// does not store), separators of lines, private and unassigned code points become one space between what they part.
    package static func clean(_ text: String, limit: Int = Self.defaultLimit) -> String? {
        var cleaned = ""
        var bytes = 0
        var gap = false
        // Looked at no further than needed, whatever the length.
        for scalar in text.unicodeScalars.prefix(limit * 4) {
            guard self.isHarmless(scalar) else {
                gap = !cleaned.isEmpty
                continue
            }
            let needed = String(scalar).utf8.count + (gap ? 1 : 0)
            guard bytes + needed <= limit else { break }
            if gap { cleaned.unicodeScalars.append(" ") }
            cleaned.unicodeScalars.append(scalar)
            bytes += needed
            gap = false
        }
        return cleaned.isEmpty ? nil : cleaned
    }

    package static func clean(_ text: String?) -> String? { text.flatMap { self.clean($0) } }

    /// Each text cleaned, empty ones and repetitions left out, no more than `count`.
    package static func clean(_ texts: some Sequence<String>, count: Int) -> [String] {
        var kept: [String] = []
        for text in texts {
            guard kept.count < count else { break }
            guard let cleaned = self.clean(text), !kept.contains(cleaned) else { continue }
            kept.append(cleaned)
        }
        return kept
    }

    private static func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .spaceSeparator, .privateUse, .unassigned,
            .surrogate:
            false
        default: true
        }
    }
}
