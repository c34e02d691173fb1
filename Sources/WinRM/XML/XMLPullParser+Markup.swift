/// Tags, names, references and everything else between angle brackets.
extension XMLPullParser {
    private static let xmlURI: StaticString = "http://www.w3.org/XML/1998/namespace"
    private static let xmlnsURI: StaticString = "http://www.w3.org/2000/xmlns/"
    private static let utf8ByteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

    // MARK: - Prolog

    /// Refuses what is recognisably not UTF-8 (XML 1.0, appendix F) and steps over a byte order mark.
    mutating func checkEncoding() throws(XMLError) {
        let start = Array(self.bytes.prefix(4))
        if start.starts(with: [0xFE, 0xFF]) || start.starts(with: [0xFF, 0xFE]) || start.starts(with: [0x00, 0x3C])
            || start.starts(with: [0x3C, 0x00])
        {
            throw XMLError(.unsupportedEncoding("UTF-16"), at: 0)
        }
        if start.starts(with: [0x00, 0x00]) { throw XMLError(.unsupportedEncoding("UTF-32"), at: 0) }
        if start.starts(with: Self.utf8ByteOrderMark) { self.position = Self.utf8ByteOrderMark.count }
    }

    /// Production 23, the optional XML declaration.
    mutating func parseDeclaration() throws(XMLError) {
        guard self.starts(with: "<?xml"), self.position + 5 < self.bytes.count,
            XMLCharacters.isSpace(self.bytes[self.position + 5])
        else { return }
        self.position += 5
        var order = 0
        while true {
            let hadSpace = self.skipSpace()
            if self.starts(with: "?>") {
                guard order > 0 else {
                    throw XMLError(.malformed("an XML declaration without version"), at: self.position)
                }
                self.position += 2
                return
            }
            guard hadSpace else { throw XMLError(.malformed("the XML declaration"), at: self.position) }
            let name = try self.parseNCName()
            try self.parseEquals()
            let value = try self.parseQuoted()
            if self.equals(name, "version"), order == 0 {
                guard value.count >= 3, self.equals(value.lowerBound..<value.lowerBound + 2, "1."),
                    self.bytes[value.lowerBound + 2..<value.upperBound].allSatisfy({ (0x30...0x39).contains($0) })
                else { throw XMLError(.malformed("the XML version"), at: value.lowerBound) }
                order = 1
            } else if self.equals(name, "encoding"), order == 1 {
                let encoding = String(decoding: self.bytes[value].prefix(40), as: UTF8.self)
                guard encoding.lowercased() == "utf-8" else {
                    throw XMLError(.unsupportedEncoding(encoding), at: value.lowerBound)
                }
                order = 2
            } else if self.equals(name, "standalone"), order == 1 || order == 2 {
                guard self.equals(value, "yes") || self.equals(value, "no") else {
                    throw XMLError(.malformed("the standalone declaration"), at: value.lowerBound)
                }
                order = 3
            } else {
                throw XMLError(.malformed("the XML declaration"), at: name.lowerBound)
            }
        }
    }

    // MARK: - Comments and processing instructions

    mutating func skipComment() throws(XMLError) {
        guard let dashes = self.find("--", from: self.position + 4) else {
            throw XMLError(.unexpectedEnd, at: self.bytes.count)
        }
        guard dashes + 2 < self.bytes.count else { throw XMLError(.unexpectedEnd, at: self.bytes.count) }
        guard self.bytes[dashes + 2] == UInt8(ascii: ">") else {
            throw XMLError(.malformed("-- inside a comment"), at: dashes)
        }
        self.position = dashes + 3
    }

    mutating func skipProcessingInstruction() throws(XMLError) {
        let start = self.position
        self.position += 2
        let target = try self.parseNCName()
        let name = self.bytes[target].map { $0 | 0x20 }
        guard name != Array("xml".utf8) else {
            throw XMLError(.malformed("an XML declaration that is not at the beginning"), at: start)
        }
        guard let end = self.find("?>", from: self.position) else {
            throw XMLError(.unexpectedEnd, at: self.bytes.count)
        }
        guard end == self.position || XMLCharacters.isSpace(self.bytes[self.position]) else {
            throw XMLError(.malformed("a processing instruction's target"), at: self.position)
        }
        self.position = end + 2
    }

    // MARK: - Tags

    /// Productions 40 and 44.
    ///
    /// - Returns: whether it was an empty-element tag.
    mutating func parseStartTag() throws(XMLError) -> Bool {
        guard self.elements.count < self.limits.maximumDepth else {
            throw XMLError(.limitExceeded("elements inside one another"), at: self.position)
        }
        self.position += 1
        let outerBindings = self.bindings.count
        let name = try self.parseQualifiedName()
        self.attributes.removeAll(keepingCapacity: true)
        var count = 0
        var isEmpty = false
        tag: while true {
            let hadSpace = self.skipSpace()
            guard self.position < self.bytes.count else { throw XMLError(.unexpectedEnd, at: self.position) }
            switch self.bytes[self.position] {
            case UInt8(ascii: ">"):
                self.position += 1
                break tag
            case UInt8(ascii: "/"):
                guard self.position + 1 < self.bytes.count else { throw XMLError(.unexpectedEnd, at: self.position) }
                guard self.bytes[self.position + 1] == UInt8(ascii: ">") else {
                    throw XMLError(.malformed("/ inside a tag"), at: self.position)
                }
                self.position += 2
                isEmpty = true
                break tag
            default:
                guard hadSpace else { throw XMLError(.malformed("no space before an attribute"), at: self.position) }
                count += 1
                guard count <= self.limits.maximumAttributes else {
                    throw XMLError(.limitExceeded("attributes of one element"), at: self.position)
                }
                try self.parseAttribute(outerBindings: outerBindings)
            }
        }
        var element = ElementName(qualified: name.qualified, local: name.local, namespace: .none)
        element.namespace = try self.resolve(prefix: name.prefix, isAttribute: false)
        try self.resolveAttributes()
        self.current = element
        self.elements.append(OpenElement(name: element, outerBindings: outerBindings))
        return isEmpty
    }

    /// Production 42; the caller closes the element.
    mutating func parseEndTag() throws(XMLError) {
        guard let open = self.elements.last else {
            throw XMLError(.malformed("an end tag without a start tag"), at: self.position)
        }
        self.position += 2
        let start = self.position
        let expected = open.name.qualified
        let end = start + expected.count
        guard end <= self.bytes.count else { throw XMLError(.unexpectedEnd, at: self.bytes.count) }
        guard self.bytes[start..<end].elementsEqual(self.bytes[expected]) else {
            throw XMLError(.malformed("an end tag with another name than its start tag"), at: start)
        }
        self.position = end
        self.skipSpace()
        guard self.position < self.bytes.count else { throw XMLError(.unexpectedEnd, at: self.position) }
        guard self.bytes[self.position] == UInt8(ascii: ">") else {
            throw XMLError(.malformed("an end tag with another name than its start tag"), at: start)
        }
        self.position += 1
    }

    // MARK: - Attributes and namespaces

    private mutating func parseAttribute(outerBindings: Int) throws(XMLError) {
        let name = try self.parseQualifiedName()
        try self.parseEquals()
        let (value, decoding) = try self.parseAttributeValue()
        if self.equals(name.qualified, "xmlns") {
            try self.declare(prefix: 0..<0, uri: value, decoding: decoding, outerBindings: outerBindings)
        } else if self.equals(name.prefix, "xmlns") {
            try self.declare(prefix: name.local, uri: value, decoding: decoding, outerBindings: outerBindings)
        } else {
            self.attributes.append(
                Attribute(prefix: name.prefix, local: name.local, value: value, decoding: decoding, namespace: .none)
            )
        }
    }

    /// Binds a prefix, with the constraints of Namespaces in XML, section 3.
    private mutating func declare(
        prefix: Range<Int>,
        uri: Range<Int>,
        decoding: TextDecoding,
        outerBindings: Int
    ) throws(XMLError) {
        let decoded = decoding == .none ? nil : self.decode(uri, decoding)
        let binding = Binding(prefix: prefix, uri: uri, decodedURI: decoded)
        let isXML = self.equals(binding, Self.xmlURI)
        guard !self.equals(prefix, "xmlns"), !self.equals(binding, Self.xmlnsURI), isXML == self.equals(prefix, "xml")
        else { throw XMLError(.malformed("a reserved namespace"), at: uri.lowerBound) }
        guard prefix.isEmpty || !(decoded?.isEmpty ?? uri.isEmpty) else {
            throw XMLError(.malformed("a prefix bound to no namespace"), at: uri.lowerBound)
        }
        for other in self.bindings[outerBindings...]
        where self.bytes[other.prefix].elementsEqual(self.bytes[prefix]) {
            throw XMLError(.malformed("an attribute that occurs twice"), at: uri.lowerBound)
        }
        self.bindings.append(binding)
    }

    private func resolve(prefix: Range<Int>, isAttribute: Bool) throws(XMLError) -> NamespaceSource {
        if prefix.isEmpty, isAttribute { return .none }
        for index in self.bindings.indices.reversed() {
            let binding = self.bindings[index]
            guard binding.prefix.count == prefix.count,
                self.bytes[binding.prefix].elementsEqual(self.bytes[prefix])
            else { continue }
            return binding.decodedURI?.isEmpty ?? binding.uri.isEmpty ? .none : .binding(index)
        }
        if prefix.isEmpty { return .none }
        if self.equals(prefix, "xml") { return .xml }
        throw XMLError(.malformed("a prefix that is not bound to a namespace"), at: prefix.lowerBound)
    }

    private mutating func resolveAttributes() throws(XMLError) {
        for index in self.attributes.indices {
            let attribute = self.attributes[index]
            let namespace = try self.resolve(prefix: attribute.prefix, isAttribute: true)
            self.attributes[index].namespace = namespace
            for other in self.attributes[..<index]
            where other.local.count == attribute.local.count
                && self.bytes[other.local].elementsEqual(self.bytes[attribute.local])
                && self.uri(of: other.namespace).elementsEqual(self.uri(of: namespace))
            {
                throw XMLError(.malformed("an attribute that occurs twice"), at: attribute.local.lowerBound)
            }
        }
    }
}
