/// Asking about the current element, its attributes and text.
extension XMLPullParser {
    // MARK: - The element

    /// Whether the element that the last start or end event was about has this name.
    package func isElement(_ namespace: XMLNamespace, _ local: StaticString) -> Bool {
        self.equals(self.current.local, local) && self.uriEquals(self.current.namespace, namespace)
    }

    /// Whether the element that the last start or end event was about lies in a namespace.
    package func isElement(in namespace: XMLNamespace) -> Bool {
        self.uriEquals(self.current.namespace, namespace)
    }

    /// The local part of the current element's name.
    package var localName: String {
        String(decoding: self.bytes[self.current.local], as: UTF8.self)
    }

    /// The namespace of the current element, empty if it has none.
    package var namespaceURI: String {
        String(decoding: self.uri(of: self.current.namespace), as: UTF8.self)
    }

    // MARK: - Attributes

    /// How many attributes the element has, namespace declarations not counted.
    package var attributeCount: Int { self.attributes.count }

    /// The value of an attribute of the element that just started; `.none` is the namespace of those without a prefix.
    package func attribute(_ namespace: XMLNamespace, _ local: StaticString) -> String? {
        for attribute in self.attributes
        where self.equals(attribute.local, local) && self.uriEquals(attribute.namespace, namespace) {
            return self.string(attribute.value, attribute.decoding)
        }
        return nil
    }

    /// All attributes of the element that just started, in document order.
    package var allAttributes: [(namespace: String, local: String, value: String)] {
        self.attributes.map {
            (
                String(decoding: self.uri(of: $0.namespace), as: UTF8.self),
                String(decoding: self.bytes[$0.local], as: UTF8.self),
                self.string($0.value, $0.decoding)
            )
        }
    }

    // MARK: - Text

    /// The text of the last ``Event/text``.
    package var text: String {
        self.string(self.textRange, self.textDecoding)
    }

    func string(_ range: Range<Int>, _ decoding: TextDecoding) -> String {
        switch decoding {
        case .none: String(decoding: self.bytes[range], as: UTF8.self)
        default: String(decoding: self.decode(range, decoding), as: UTF8.self)
        }
    }

    /// Replaces references and white space as `decoding` says. The references were checked when they were scanned.
    func decode(_ range: Range<Int>, _ decoding: TextDecoding) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(range.count)
        var index = range.lowerBound
        while index < range.upperBound {
            let byte = self.bytes[index]
            switch byte {
            case UInt8(ascii: "&") where decoding != .lineEnds:
                guard let (scalar, end) = try? self.reference(at: index), let character = Unicode.Scalar(scalar) else {
                    index += 1
                    continue
                }
                result.append(contentsOf: UTF8.encode(character)!)
                index = end
                continue
            case 0x0D:
                result.append(decoding == .attribute ? 0x20 : 0x0A)
                if index + 1 < range.upperBound, self.bytes[index + 1] == 0x0A { index += 1 }
            case 0x0A, 0x09:
                result.append(decoding == .attribute ? 0x20 : byte)
            default:
                result.append(byte)
            }
            index += 1
        }
        return result
    }

    // MARK: - Comparing bytes

    func uri(of namespace: NamespaceSource) -> ArraySlice<UInt8> {
        switch namespace {
        case .none:
            return []
        case .xml:
            return ArraySlice(XMLNamespace.xml.uri.description.utf8)
        case .binding(let index):
            let binding = self.bindings[index]
            return binding.decodedURI.map { $0[...] } ?? self.bytes[binding.uri]
        }
    }

    private func uriEquals(_ source: NamespaceSource, _ namespace: XMLNamespace) -> Bool {
        switch source {
        case .none: namespace.uri.utf8CodeUnitCount == 0
        case .xml: namespace == .xml
        case .binding(let index): self.equals(self.bindings[index], namespace.uri)
        }
    }

    func equals(_ binding: Binding, _ uri: StaticString) -> Bool {
        guard let decoded = binding.decodedURI else { return self.equals(binding.uri, uri) }
        return uri.withUTF8Buffer { decoded.elementsEqual($0) }
    }

    func equals(_ range: Range<Int>, _ text: StaticString) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        return self.bytes.withUnsafeBufferPointer { buffer in
            text.withUTF8Buffer { wanted in
                var offset = range.lowerBound
                for byte in wanted {
                    if buffer[offset] != byte { return false }
                    offset += 1
                }
                return true
            }
        }
    }
}

/// A namespace that code knows by name.
package struct XMLNamespace: Sendable, Hashable, CustomStringConvertible {
    package let uri: StaticString

    package init(_ uri: StaticString) {
        self.uri = uri
    }

    /// No namespace: unprefixed attributes, and elements outside every default namespace.
    package static let none = XMLNamespace("")
    /// The namespace of the prefix `xml`, bound everywhere.
    package static let xml = XMLNamespace("http://www.w3.org/XML/1998/namespace")
    /// XML Schema instance: `nil` and `type`.
    package static let schemaInstance = XMLNamespace("http://www.w3.org/2001/XMLSchema-instance")

    package var description: String { self.uri.description }

    package static func == (left: Self, right: Self) -> Bool {
        left.description == right.description
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(self.description)
    }
}
