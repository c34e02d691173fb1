/// Writes one XML document into one buffer, escaping text and attribute values.
///
/// Names are trusted (they are literals or class names of the program); text is not. Namespaces are written as the
/// attributes they are.
package struct XMLWriter: Sendable {
    private(set) package var bytes: [UInt8] = []
    private var open: [String] = []
    private var tagIsOpen = false

    /// - Parameter capacity: bytes to set aside at the start.
    package init(capacity: Int = 1024) {
        self.bytes.reserveCapacity(capacity)
    }

    /// The document so far as text.
    package var string: String { String(decoding: self.bytes, as: UTF8.self) }

    /// Opens an element; attributes may follow.
    package mutating func start(_ name: String) {
        self.closeTag()
        self.bytes.append(UInt8(ascii: "<"))
        self.bytes.append(contentsOf: name.utf8)
        self.open.append(name)
        self.tagIsOpen = true
    }

    /// Writes an attribute of the element that was just opened.
    ///
    /// - Precondition: nothing was written since ``start(_:)`` but attributes.
    package mutating func attribute(_ name: String, _ value: String) {
        precondition(self.tagIsOpen, "an attribute outside a start tag")
        self.bytes.append(UInt8(ascii: " "))
        self.bytes.append(contentsOf: name.utf8)
        self.bytes.append(contentsOf: [UInt8(ascii: "="), UInt8(ascii: "\"")])
        self.appendEscaped(value, inAttribute: true)
        self.bytes.append(UInt8(ascii: "\""))
    }

    /// Binds a prefix in the element that was just opened; an empty prefix sets the default namespace.
    package mutating func namespace(_ prefix: String, _ uri: String) {
        self.attribute(prefix.isEmpty ? "xmlns" : "xmlns:" + prefix, uri)
    }

    /// Writes character data. Characters that XML 1.0 cannot carry become U+FFFD.
    package mutating func text(_ text: String) {
        self.closeTag()
        self.appendEscaped(text, inAttribute: false)
    }

    /// Closes the innermost element.
    ///
    /// - Precondition: an element is open.
    package mutating func end() {
        precondition(!self.open.isEmpty, "no element is open")
        let name = self.open.removeLast()
        if self.tagIsOpen {
            self.bytes.append(contentsOf: [UInt8(ascii: "/"), UInt8(ascii: ">")])
            self.tagIsOpen = false
        } else {
            self.bytes.append(contentsOf: [UInt8(ascii: "<"), UInt8(ascii: "/")])
            self.bytes.append(contentsOf: name.utf8)
            self.bytes.append(UInt8(ascii: ">"))
        }
    }

    /// Writes an element with attributes and text only.
    package mutating func element(_ name: String, _ attributes: KeyValuePairs<String, String> = [:], text: String = "")
    {
        self.start(name)
        for (name, value) in attributes { self.attribute(name, value) }
        if !text.isEmpty { self.text(text) }
        self.end()
    }

    /// Writes an element around whatever `content` writes.
    package mutating func element<Failure: Error>(
        _ name: String,
        _ attributes: KeyValuePairs<String, String> = [:],
        content: (inout XMLWriter) throws(Failure) -> Void
    ) throws(Failure) {
        self.start(name)
        for (name, value) in attributes { self.attribute(name, value) }
        try content(&self)
        self.end()
    }

    /// Writes bytes that are well-formed already.
    package mutating func raw(_ text: String) {
        self.closeTag()
        self.bytes.append(contentsOf: text.utf8)
    }

    private mutating func closeTag() {
        if self.tagIsOpen {
            self.bytes.append(UInt8(ascii: ">"))
            self.tagIsOpen = false
        }
    }

    /// Whether a byte stands for itself wherever it is; nearly all text consists of such.
    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "&"), UInt8(ascii: "\""): false
        default: (0x20..<0x80).contains(byte)
        }
    }

    /// Escapes what section 2.4 demands, and white space that a parser would change (2.11, 3.3.3).
    private mutating func appendEscaped(_ text: String, inAttribute: Bool) {
        guard !text.utf8.allSatisfy(Self.isPlain) else { return self.bytes.append(contentsOf: text.utf8) }
        for scalar in text.unicodeScalars {
            switch scalar {
            case "<": self.bytes.append(contentsOf: "&lt;".utf8)
            case ">": self.bytes.append(contentsOf: "&gt;".utf8)
            case "&": self.bytes.append(contentsOf: "&amp;".utf8)
            case "\"" where inAttribute: self.bytes.append(contentsOf: "&quot;".utf8)
            case "\r": self.bytes.append(contentsOf: "&#13;".utf8)
            case "\n" where inAttribute: self.bytes.append(contentsOf: "&#10;".utf8)
            case "\t" where inAttribute: self.bytes.append(contentsOf: "&#9;".utf8)
            default:
                if scalar.isASCII, scalar.value >= 0x20 {
                    self.bytes.append(UInt8(truncatingIfNeeded: scalar.value))
                } else if XMLCharacters.isCharacter(scalar.value) {
                    self.bytes.append(contentsOf: UTF8.encode(scalar)!)
                } else {
                    self.bytes.append(contentsOf: "\u{FFFD}".utf8)
                }
            }
        }
    }
}
