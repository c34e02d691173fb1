/// Builds the envelopes that this client sends.
package struct WSManRequest: Sendable {
    /// What the headers of every request but `Identify` need.
    package struct Header: Sendable {
        /// The URL of the host's endpoint.
        package var to: String
        /// The resource, for example ``WSManNames/allClasses(of:)``.
        package var resourceURI: String
        /// Fresh for each request, `uuid:` and a UUID.
        package var messageID: String
        /// The largest reply in bytes that the host may send.
        package var maximumEnvelopeSize: Int
        /// After how many milliseconds the host is to give up.
        package var operationTimeoutMilliseconds: Int

        package init(
            to: String,
            resourceURI: String,
            messageID: String,
            maximumEnvelopeSize: Int,
            operationTimeoutMilliseconds: Int
        ) {
            self.to = to
            self.resourceURI = resourceURI
            self.messageID = messageID
            self.maximumEnvelopeSize = maximumEnvelopeSize
            self.operationTimeoutMilliseconds = operationTimeoutMilliseconds
        }
    }

    /// Hosts refuse a reply limit below this with an `EncodingLimit` fault ([MS-WSMV] 3.1.4.1.19).
    package static let minimumEnvelopeSize = 8192
    /// Hosts refuse shorter operation time-outs (MaxTimeoutms has this minimum).
    package static let minimumOperationTimeoutMilliseconds = 500

    /// `Identify` ([DSP0226] 11), which has no headers.
    package static func identify() -> [UInt8] {
        var writer = XMLWriter(capacity: 256)
        writer.start("s:Envelope")
        writer.namespace("s", WSManNames.soap.description)
        writer.namespace("i", WSManNames.identity.description)
        writer.element("s:Header")
        writer.element("s:Body") { $0.element("i:Identify") }
        writer.end()
        return writer.bytes
    }

    /// `Enumerate` with a WQL filter; the first items come in its answer ([DSP0226] 8.2).
    package static func enumerate(_ header: Header, wql: String, maximumElements: Int) -> [UInt8] {
        Self.envelope(header, action: WSManNames.enumerateAction) { writer in
            writer.element("n:Enumerate") { writer in
                writer.element("w:OptimizeEnumeration")
                writer.element("w:MaxElements", text: String(maximumElements))
                writer.element("w:Filter", ["Dialect": WSManNames.wqlDialect], text: wql)
            }
        }
    }

    /// `Pull`. Without `MaxElements` a host sends one item each time, so it is always there.
    package static func pull(_ header: Header, context: String, maximumElements: Int) -> [UInt8] {
        Self.envelope(header, action: WSManNames.pullAction) { writer in
            writer.element("n:Pull") { writer in
                writer.element("n:EnumerationContext", text: context)
                writer.element("n:MaxElements", text: String(maximumElements))
            }
        }
    }

    /// `Release`, for an enumeration that is not followed to its end.
    package static func release(_ header: Header, context: String) -> [UInt8] {
        Self.envelope(header, action: WSManNames.releaseAction) { writer in
            writer.element("n:Release") { $0.element("n:EnumerationContext", text: context) }
        }
    }

    private static func envelope(
        _ header: Header,
        action: String,
        body: (inout XMLWriter) -> Void
    ) -> [UInt8] {
        var writer = XMLWriter(capacity: 2048)
        writer.start("s:Envelope")
        writer.namespace("s", WSManNames.soap.description)
        writer.namespace("a", WSManNames.addressing.description)
        writer.namespace("n", WSManNames.enumeration.description)
        writer.namespace("w", WSManNames.wsman.description)
        writer.namespace("p", WSManNames.microsoftWSMan.description)
        writer.element("s:Header") { writer in
            writer.element("a:To", text: header.to)
            writer.element("w:ResourceURI", ["s:mustUnderstand": "true"], text: header.resourceURI)
            writer.element("a:ReplyTo") { writer in
                writer.element("a:Address", ["s:mustUnderstand": "true"], text: WSManNames.anonymousAddress)
            }
            writer.element("a:Action", ["s:mustUnderstand": "true"], text: action)
            let size = max(header.maximumEnvelopeSize, Self.minimumEnvelopeSize)
            writer.element("w:MaxEnvelopeSize", ["s:mustUnderstand": "true"], text: String(size))
            writer.element("a:MessageID", text: header.messageID)
            // Names in WQL are English everywhere; messages should be too, so that logs can be read.
            writer.element("w:Locale", ["xml:lang": "en-US", "s:mustUnderstand": "false"])
            writer.element("p:DataLocale", ["xml:lang": "en-US", "s:mustUnderstand": "false"])
            writer.element("w:OperationTimeout", text: Self.duration(header.operationTimeoutMilliseconds))
        }
        writer.element("s:Body", content: body)
        writer.end()
        return writer.bytes
    }

    /// An `xs:duration` in seconds with three decimals.
    static func duration(_ milliseconds: Int) -> String {
        let clamped = max(milliseconds, Self.minimumOperationTimeoutMilliseconds)
        let fraction = String(clamped % 1000)
        return "PT\(clamped / 1000)." + String(repeating: "0", count: 3 - fraction.count) + fraction + "S"
    }
}
