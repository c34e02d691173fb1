/// A document that the parser refused, and where.
package struct XMLError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Why a document was refused.
    package enum Reason: Hashable, Sendable {
        /// The document type declaration that SOAP 1.2 forbids (part 1, section 5), and with it every entity attack.
        case doctypeForbidden
        /// An encoding other than UTF-8, as declared or as the first bytes tell.
        case unsupportedEncoding(String)
        /// Bytes that are not UTF-8, or characters that XML 1.0 does not allow.
        case invalidCharacter
        /// A reference to an entity other than the five predefined ones.
        case unknownEntity
        /// A rule of XML 1.0 or of Namespaces in XML that the document breaks.
        case malformed(StaticString)
        /// The document ended in the middle of something.
        case unexpectedEnd
        /// A limit of ``XMLLimits`` was passed.
        case limitExceeded(StaticString)

        package static func == (left: Self, right: Self) -> Bool {
            left.text == right.text
        }

        package func hash(into hasher: inout Hasher) {
            hasher.combine(self.text)
        }

        /// The reason in words; never contains text of the document beyond a declared encoding's name.
        var text: String {
            switch self {
            case .doctypeForbidden: "a document type declaration is not allowed"
            case .unsupportedEncoding(let name): "the encoding \(name) is not supported, only UTF-8 is"
            case .invalidCharacter: "a character that XML does not allow, or invalid UTF-8"
            case .unknownEntity: "a reference to an entity that is not predefined"
            case .malformed(let rule): "\(rule)"
            case .unexpectedEnd: "the document ends too early"
            case .limitExceeded(let limit): "too much: \(limit)"
            }
        }
    }

    package let reason: Reason
    /// Offset in bytes at which the parser noticed.
    package let offset: Int

    package init(_ reason: Reason, at offset: Int) {
        self.reason = reason
        self.offset = offset
    }

    package var description: String {
        "XML is not acceptable at byte \(self.offset): \(self.reason.text)"
    }
}

/// How much of everything a document may contain.
///
/// The defaults are far above what Windows hosts were seen to send (77 KB, depth 12) and far below what would hurt.
package struct XMLLimits: Sendable, Hashable {
    /// Whole document, in bytes.
    package static let defaultMaximumBytes = 16 * 1024 * 1024
    /// Elements inside one another. A WMI fault nests about a dozen deep.
    package static let defaultMaximumDepth = 64
    /// Attributes of one element, namespace declarations included.
    package static let defaultMaximumAttributes = 64
    /// One qualified name, in bytes. CIM names are at most 256 characters ([DSP0004] appendix).
    package static let defaultMaximumNameLength = 512
    /// One attribute value as written, in bytes.
    package static let defaultMaximumAttributeLength = 16 * 1024

    package var maximumBytes = Self.defaultMaximumBytes
    package var maximumDepth = Self.defaultMaximumDepth
    package var maximumAttributes = Self.defaultMaximumAttributes
    package var maximumNameLength = Self.defaultMaximumNameLength
    package var maximumAttributeLength = Self.defaultMaximumAttributeLength

    package init() {}
}
