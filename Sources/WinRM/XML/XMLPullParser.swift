/// A strict pull parser for XML 1.0 with namespaces over a whole document of UTF-8 bytes.
///
/// It builds no tree and no strings that nobody asked for: names are ranges of the document and are compared as bytes.
/// There is no document type declaration, no entity but the five predefined ones and nothing external; every nesting
/// and length has a limit from ``XMLLimits``. Implements XML 1.0 (fifth edition) without DTDs and Namespaces in XML 1.0
/// (third edition).
package struct XMLPullParser: Sendable {
    /// What ``next()`` came to.
    package enum Event: Hashable, Sendable {
        /// A start tag, or an empty-element tag (an ``endElement`` follows in either case).
        case startElement
        case endElement
        /// Character data or a CDATA section; neighbouring pieces may come as several events.
        case text
        /// The document is complete and well-formed.
        case endOfDocument
    }

    /// A namespace binding in scope. An empty prefix is the default namespace, an empty URI takes it away.
    struct Binding: Sendable {
        let prefix: Range<Int>
        let uri: Range<Int>
        /// The URI when it was written with references; `uri` then does not hold it literally.
        let decodedURI: [UInt8]?
    }

    /// Where an element's or attribute's name comes from.
    enum NamespaceSource: Hashable, Sendable {
        case none
        case xml
        case binding(Int)
    }

    /// What must happen to character data before it is what the author meant.
    enum TextDecoding: Sendable {
        case none
        /// Line ends become line feeds (section 2.11).
        case lineEnds
        /// Line ends, and references are replaced.
        case references
        /// References are replaced and white space becomes spaces (section 3.3.3).
        case attribute
    }

    struct ElementName: Sendable {
        var qualified: Range<Int>
        var local: Range<Int>
        var namespace: NamespaceSource
    }

    struct OpenElement: Sendable {
        let name: ElementName
        /// How many bindings were in scope before the element.
        let outerBindings: Int
    }

    struct Attribute: Sendable {
        var prefix: Range<Int>
        var local: Range<Int>
        var value: Range<Int>
        var decoding: TextDecoding
        var namespace: NamespaceSource
    }

    let bytes: [UInt8]
    let limits: XMLLimits
    var position = 0
    var elements: [OpenElement] = []
    var bindings: [Binding] = []
    var attributes: [Attribute] = []
    var current = ElementName(qualified: 0..<0, local: 0..<0, namespace: .none)
    /// Bindings of the element whose end was reported last; they stay until the next event so that its name resolves.
    private var bindingsAfterEnd: Int?
    private var emptyElementIsOpen = false
    private var sawRoot = false
    var textRange = 0..<0
    var textDecoding = TextDecoding.none
    private var isFinished = false

    /// Begins a document. Its size, its encoding and all of its characters are checked here.
    ///
    /// - Throws: ``XMLError`` with `.limitExceeded`, `.unsupportedEncoding`, `.invalidCharacter` or `.malformed`.
    package init(_ bytes: [UInt8], limits: XMLLimits = XMLLimits()) throws(XMLError) {
        guard bytes.count <= limits.maximumBytes else { throw XMLError(.limitExceeded("bytes of the document"), at: 0) }
        self.bytes = bytes
        self.limits = limits
        try self.checkEncoding()
        if let offset = XMLCharacters.firstInvalidOffset(in: bytes) { throw XMLError(.invalidCharacter, at: offset) }
        try self.parseDeclaration()
    }

    /// Elements that are open now; during ``Event/startElement`` the new one counts, during ``Event/endElement`` the
    /// old one does not.
    package var depth: Int { self.elements.count }

    /// The offset in bytes up to which the document is read.
    package var offset: Int { self.position }

    // MARK: - Events

    /// Reads on to the next event.
    ///
    /// - Throws: ``XMLError``. After an error the parser must not be used any more.
    package mutating func next() throws(XMLError) -> Event {
        if let count = self.bindingsAfterEnd {
            self.bindings.removeLast(self.bindings.count - count)
            self.bindingsAfterEnd = nil
        }
        if self.emptyElementIsOpen {
            self.emptyElementIsOpen = false
            return self.closeElement()
        }
        while self.position < self.bytes.count {
            guard self.bytes[self.position] == UInt8(ascii: "<") else {
                try self.scanText()
                if self.elements.isEmpty {
                    try self.requireWhiteSpaceOutsideRoot()
                    continue
                }
                return .text
            }
            guard self.position + 1 < self.bytes.count else { throw XMLError(.unexpectedEnd, at: self.position) }
            switch self.bytes[self.position + 1] {
            case UInt8(ascii: "/"):
                try self.parseEndTag()
                return self.closeElement()
            case UInt8(ascii: "?"):
                try self.skipProcessingInstruction()
            case UInt8(ascii: "!"):
                if self.starts(with: "<!--") {
                    try self.skipComment()
                } else if self.starts(with: "<![CDATA[") {
                    guard !self.elements.isEmpty else {
                        throw XMLError(.malformed("a CDATA section outside the root element"), at: self.position)
                    }
                    try self.scanCDATA()
                    return .text
                } else if self.starts(with: "<!DOCTYPE") {
                    throw XMLError(.doctypeForbidden, at: self.position)
                } else {
                    throw XMLError(.malformed("markup that is neither comment nor CDATA section"), at: self.position)
                }
            default:
                guard !(self.elements.isEmpty && self.sawRoot) else {
                    throw XMLError(.malformed("a second root element"), at: self.position)
                }
                self.sawRoot = true
                let isEmpty = try self.parseStartTag()
                self.emptyElementIsOpen = isEmpty
                return .startElement
            }
        }
        guard self.elements.isEmpty, self.sawRoot else { throw XMLError(.unexpectedEnd, at: self.position) }
        self.isFinished = true
        return .endOfDocument
    }

    private mutating func closeElement() -> Event {
        let element = self.elements.removeLast()
        self.current = element.name
        self.attributes.removeAll(keepingCapacity: true)
        self.bindingsAfterEnd = element.outerBindings
        return .endElement
    }

    // MARK: - Convenience for decoders

    /// Goes to the next child element of the element that is open, leaving out text.
    ///
    /// Each child must be read to its end (``skip()``, ``readText()`` or this method until it answers `false`) before
    /// the next call.
    ///
    /// - Returns: `false` at the end of the open element.
    package mutating func nextChild() throws(XMLError) -> Bool {
        while true {
            switch try self.next() {
            case .startElement: return true
            case .endElement: return false
            case .text: continue
            case .endOfDocument: throw XMLError(.unexpectedEnd, at: self.position)
            }
        }
    }

    /// Reads from a start tag to the matching end tag and drops all of it.
    package mutating func skip() throws(XMLError) {
        let outer = self.depth - 1
        while true {
            let event = try self.next()
            if event == .endElement, self.depth == outer { return }
        }
    }

    /// The text of an element without children, read to its end tag.
    ///
    /// - Throws: ``XMLError`` with `.malformed` if there is an element inside.
    package mutating func readText() throws(XMLError) -> String {
        var result: String?
        while true {
            switch try self.next() {
            case .text:
                result = result.map { $0 + self.text } ?? self.text
            case .endElement:
                return result ?? ""
            case .startElement:
                throw XMLError(.malformed("an element where text was expected"), at: self.position)
            case .endOfDocument:
                throw XMLError(.unexpectedEnd, at: self.position)
            }
        }
    }

    /// Reads the rest of the document, which must be well-formed to its end.
    package mutating func finish() throws(XMLError) {
        while !self.isFinished { _ = try self.next() }
    }

    // MARK: - Text

    private mutating func scanText() throws(XMLError) {
        let start = self.position
        var decoding = TextDecoding.none
        var index = start
        let end = self.bytes.count
        scan: while index < end {
            switch self.bytes[index] {
            case UInt8(ascii: "<"):
                break scan
            case UInt8(ascii: "&"):
                decoding = .references
                self.position = index
                _ = try self.parseReference()
                index = self.position
                continue scan
            case 0x0D:
                if decoding == .none { decoding = .lineEnds }
            case UInt8(ascii: "]"):
                self.position = index
                if self.starts(with: "]]>") { throw XMLError(.malformed("]]> in character data"), at: index) }
            default:
                break
            }
            index += 1
        }
        self.position = index
        self.textRange = start..<index
        self.textDecoding = decoding
    }

    private mutating func scanCDATA() throws(XMLError) {
        self.position += "<![CDATA[".utf8.count
        let start = self.position
        guard let end = self.find("]]>", from: start) else { throw XMLError(.unexpectedEnd, at: self.bytes.count) }
        self.position = end + 3
        self.textRange = start..<end
        // Inside a CDATA section `&` stands for itself.
        self.textDecoding = .lineEnds
    }

    private func requireWhiteSpaceOutsideRoot() throws(XMLError) {
        for index in self.textRange where !XMLCharacters.isSpace(self.bytes[index]) {
            throw XMLError(.malformed("text outside the root element"), at: index)
        }
    }
}
