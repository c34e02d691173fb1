/// What a host said about itself to `Identify` ([DSP0226] 11).
package struct WSManIdentity: Sendable, Hashable {
    package var protocolVersion: String
    /// `Microsoft Corporation` on Windows.
    package var productVendor: String?
    /// `OS: 10.0.17763 SP: 0.0 Stack: 3.0` on Windows; zeros instead of the version before authentication.
    package var productVersion: String?

    package init(protocolVersion: String, productVendor: String? = nil, productVersion: String? = nil) {
        self.protocolVersion = protocolVersion
        self.productVendor = productVendor
        self.productVersion = productVersion
    }
}

/// One answer to `Enumerate` or `Pull`.
package struct WSManPage: Sendable, Hashable {
    package var items: [CIMInstance] = []
    /// What the next `Pull` needs; hosts leave it empty or out at the end.
    package var context: String?
    /// Whether the sequence ends here; the items of this page are part of it.
    package var isEnd = false

    package init() {}
}

/// A reply that is well-formed but not what was asked for, or not well-formed.
package enum WSManReplyError: Error, Hashable, Sendable, CustomStringConvertible {
    case xml(XMLError)
    /// Not a SOAP 1.2 envelope, or its body is something else than expected.
    case unexpected(String)
    /// More instances than the limit in one enumeration.
    case tooManyInstances(limit: Int)
    case fault(WSManFault)

    package var description: String {
        switch self {
        case .xml(let error): error.description
        case .unexpected(let what): "the reply is not what WS-Management prescribes: \(what)"
        case .tooManyInstances(let limit): "the enumeration has more than \(limit) instances"
        case .fault(let fault): fault.description
        }
    }
}

/// Decodes replies straight from the parser's events.
package enum WSManReply {
    /// Reads the answer to `Identify`.
    package static func identify(_ bytes: [UInt8], limits: XMLLimits = XMLLimits()) throws(WSManReplyError)
        -> WSManIdentity
    {
        try Self.body(bytes, limits: limits) { parser throws(WSManReplyError) in
            guard parser.isElement(WSManNames.identity, "IdentifyResponse") else {
                throw .unexpected("no IdentifyResponse")
            }
            return try Self.xml { () throws(XMLError) in try Self.identity(&parser) }
        }
    }

    /// Reads the answer to `Enumerate` or `Pull`.
    ///
    /// - Parameter maximumInstances: how many items this page may have at most.
    package static func page(
        _ bytes: [UInt8],
        maximumInstances: Int = .max,
        limits: XMLLimits = XMLLimits()
    ) throws(WSManReplyError) -> WSManPage {
        try Self.body(bytes, limits: limits) { parser throws(WSManReplyError) in
            guard
                parser.isElement(WSManNames.enumeration, "EnumerateResponse")
                    || parser.isElement(WSManNames.enumeration, "PullResponse")
            else { throw .unexpected("neither EnumerateResponse nor PullResponse") }
            return try Self.page(&parser, maximumInstances)
        }
    }

    /// Reads the answer to `Release`, which is empty.
    package static func released(_ bytes: [UInt8], limits: XMLLimits = XMLLimits()) throws(WSManReplyError) {
        var parser = try Self.xml { () throws(XMLError) in try XMLPullParser(bytes, limits: limits) }
        try Self.enterBody(&parser)
        let hasContent = try Self.xml { () throws(XMLError) in try parser.nextChild() }
        if hasContent, parser.isElement(WSManNames.soap, "Fault") {
            throw .fault(try Self.xml { () throws(XMLError) in try WSManFaultDecoder.decode(&parser) })
        }
    }

    // MARK: - The envelope

    /// Finds the body's first element, gives it to `decode` or throws the fault that it is, and reads to the end.
    private static func body<Value>(
        _ bytes: [UInt8],
        limits: XMLLimits,
        decode: (inout XMLPullParser) throws(WSManReplyError) -> Value
    ) throws(WSManReplyError) -> Value {
        var parser = try Self.xml { () throws(XMLError) in try XMLPullParser(bytes, limits: limits) }
        try Self.enterBody(&parser)
        guard try Self.xml({ () throws(XMLError) in try parser.nextChild() }) else {
            throw .unexpected("an empty body")
        }
        if parser.isElement(WSManNames.soap, "Fault") {
            let fault = try Self.xml { () throws(XMLError) in
                let fault = try WSManFaultDecoder.decode(&parser)
                try parser.finish()
                return fault
            }
            throw .fault(fault)
        }
        let value = try decode(&parser)
        try Self.xml { () throws(XMLError) in try parser.finish() }
        return value
    }

    private static func enterBody(_ parser: inout XMLPullParser) throws(WSManReplyError) {
        let isEnvelope = try Self.xml { () throws(XMLError) in
            while try parser.next() != .startElement {}
            return parser.isElement(WSManNames.soap, "Envelope")
        }
        guard isEnvelope else { throw .unexpected("no SOAP 1.2 envelope") }
        while try Self.xml({ () throws(XMLError) in try parser.nextChild() }) {
            if parser.isElement(WSManNames.soap, "Body") { return }
            try Self.xml { () throws(XMLError) in try parser.skip() }
        }
        throw .unexpected("an envelope without a body")
    }

    private static func xml<Value>(_ body: () throws(XMLError) -> Value) throws(WSManReplyError) -> Value {
        do { return try body() } catch { throw .xml(error) }
    }

    // MARK: - Bodies

    private static func identity(_ parser: inout XMLPullParser) throws(XMLError) -> WSManIdentity {
        var identity = WSManIdentity(protocolVersion: "")
        while try parser.nextChild() {
            if parser.isElement(WSManNames.identity, "ProtocolVersion") {
                identity.protocolVersion = WSManFaultDecoder.shortened(try parser.readText())
            } else if parser.isElement(WSManNames.identity, "ProductVendor") {
                identity.productVendor = WSManFaultDecoder.shortened(try parser.readText())
            } else if parser.isElement(WSManNames.identity, "ProductVersion") {
                identity.productVersion = WSManFaultDecoder.shortened(try parser.readText())
            } else {
                try parser.skip()
            }
        }
        return identity
    }

    /// Items and end are children of the response in one of two namespaces: `w:` in the answer to an optimised
    /// `Enumerate`, `n:` in the answer to `Pull`; hosts were seen to mix them. A property may have the same name.
    private static func page(_ parser: inout XMLPullParser, _ maximum: Int) throws(WSManReplyError) -> WSManPage {
        var page = WSManPage()
        while try Self.xml({ () throws(XMLError) in try parser.nextChild() }) {
            if parser.isElement(WSManNames.enumeration, "EnumerationContext") {
                let context = try Self.xml { () throws(XMLError) in try parser.readText() }
                page.context = context.isEmpty ? nil : context
            } else if parser.isElement(WSManNames.wsman, "Items") || parser.isElement(WSManNames.enumeration, "Items") {
                while try Self.xml({ () throws(XMLError) in try parser.nextChild() }) {
                    guard page.items.count < maximum else { throw .tooManyInstances(limit: maximum) }
                    page.items.append(try Self.xml { () throws(XMLError) in try CIMInstanceDecoder.item(&parser) })
                }
            } else {
                page.isEnd =
                    page.isEnd || parser.isElement(WSManNames.wsman, "EndOfSequence")
                    || parser.isElement(WSManNames.enumeration, "EndOfSequence")
                try Self.xml { () throws(XMLError) in try parser.skip() }
            }
        }
        return page
    }
}

/// Decodes one instance; the parser stands at its start tag.
enum CIMInstanceDecoder {
    /// The wrappers of dates and intervals in [DSP0230] 7.2.4.
    private static let dateElements: Set<String> = ["Datetime", "CIM_DateTime", "Date", "Time", "Interval"]

    static func item(_ parser: inout XMLPullParser) throws(XMLError) -> CIMInstance {
        let className = parser.isElement(WSManNames.wsman, "XmlFragment") ? nil : parser.localName
        return CIMInstance(className: className, properties: try Self.properties(&parser))
    }

    private static func properties(_ parser: inout XMLPullParser) throws(XMLError) -> [CIMInstance.Property] {
        var properties: [CIMInstance.Property] = []
        while try parser.nextChild() {
            let name = parser.localName
            let value = try Self.value(&parser)
            Self.append(value, name, to: &properties)
        }
        return properties
    }

    /// Adds a property, or makes the one before an array if it has the same name.
    private static func append(_ value: CIMValue?, _ name: String, to properties: inout [CIMInstance.Property]) {
        guard let last = properties.last, last.name == name else {
            properties.append(CIMInstance.Property(name: name, value: value))
            return
        }
        if case .array(var values) = last.value {
            properties[properties.count - 1].value = nil
            values.append(value)
            properties[properties.count - 1].value = .array(values)
        } else {
            properties[properties.count - 1].value = .array([last.value, value])
        }
    }

    private static func value(_ parser: inout XMLPullParser) throws(XMLError) -> CIMValue? {
        let nilText = parser.attribute(.schemaInstance, "nil")
        if nilText == "true" || nilText == "1" {
            try parser.skip()
            return nil
        }
        var text = ""
        var children: [CIMInstance.Property] = []
        while true {
            switch try parser.next() {
            case .text:
                text = text.isEmpty ? parser.text : text + parser.text
            case .startElement:
                let name = parser.localName
                if children.isEmpty, Self.dateElements.contains(name),
                    parser.isElement(in: WSManNames.cim) || parser.isElement(in: .none)
                {
                    let date = try parser.readText()
                    while try parser.nextChild() { try parser.skip() }
                    return .dateTime(date)
                }
                let value = try Self.value(&parser)
                Self.append(value, name, to: &children)
            case .endElement:
                return children.isEmpty ? .text(text) : .instance(CIMInstance(properties: children))
            case .endOfDocument:
                throw XMLError(.unexpectedEnd, at: parser.offset)
            }
        }
    }
}
