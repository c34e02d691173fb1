/// The envelopes of good answers, with the prefixes and the order that Windows uses.
enum WSManEnvelope {
    private static let opening =
        #"<s:Envelope xml:lang="en-US" xmlns:s="http://www.w3.org/2003/05/soap-envelope""#
        + #" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing""#
        + #" xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration""#
        + #" xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd""#
        + #" xmlns:p="http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"><s:Header><a:Action>"#
    private static let addressee =
        "<a:To>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:To><a:RelatesTo>"
    private static let closing = "</s:Body></s:Envelope>"

    private static func header(_ action: String, relatesTo: String, capacity: Int) -> XMLBuffer {
        var buffer = XMLBuffer(capacity: capacity + 1_500)
        buffer.raw(Self.opening)
        buffer.raw(action)
        buffer.raw("</a:Action><a:MessageID>")
        buffer.uuid()
        buffer.raw(#"</a:MessageID><p:OperationID s:mustUnderstand="false">"#)
        buffer.uuid()
        buffer.raw("</p:OperationID><p:SequenceId>1</p:SequenceId>")
        buffer.raw(Self.addressee)
        buffer.text(relatesTo)
        buffer.raw("</a:RelatesTo></s:Header><s:Body>")
        return buffer
    }

    /// - Parameters:
    ///   - context: nil at the end, which is written as an empty context, as Windows does.
    ///   - items: nil without `OptimizeEnumeration`.
    static func enumerated(relatesTo: String, context: String?, items: [UInt8]?) -> [UInt8] {
        var buffer = Self.header(
            "http://schemas.xmlsoap.org/ws/2004/09/enumeration/EnumerateResponse",
            relatesTo: relatesTo,
            capacity: items?.count ?? 0
        )
        buffer.raw("<n:EnumerateResponse><n:EnumerationContext>")
        buffer.raw(context ?? "")
        buffer.raw("</n:EnumerationContext>")
        if let items {
            buffer.raw("<w:Items>")
            buffer.raw(items)
            buffer.raw("</w:Items>")
            if context == nil { buffer.raw("<w:EndOfSequence/>") }
        }
        buffer.raw("</n:EnumerateResponse>")
        buffer.raw(Self.closing)
        return buffer.bytes
    }

    /// - Parameter context: nil at the end.
    static func pulled(relatesTo: String, context: String?, items: [UInt8]) -> [UInt8] {
        var buffer = Self.header(
            "http://schemas.xmlsoap.org/ws/2004/09/enumeration/PullResponse",
            relatesTo: relatesTo,
            capacity: items.count
        )
        buffer.raw("<n:PullResponse>")
        if let context {
            buffer.raw("<n:EnumerationContext>")
            buffer.raw(context)
            buffer.raw("</n:EnumerationContext>")
        }
        buffer.raw("<n:Items>")
        buffer.raw(items)
        buffer.raw("</n:Items>")
        if context == nil { buffer.raw("<n:EndOfSequence/>") }
        buffer.raw("</n:PullResponse>")
        buffer.raw(Self.closing)
        return buffer.bytes
    }

    static func released(relatesTo: String) -> [UInt8] {
        var buffer = Self.header(
            "http://schemas.xmlsoap.org/ws/2004/09/enumeration/ReleaseResponse",
            relatesTo: relatesTo,
            capacity: 0
        )
        buffer.raw(Self.closing)
        return buffer.bytes
    }

    static func got(relatesTo: String, instance: [UInt8]) -> [UInt8] {
        var buffer = Self.header(
            "http://schemas.xmlsoap.org/ws/2004/09/transfer/GetResponse",
            relatesTo: relatesTo,
            capacity: instance.count
        )
        buffer.raw(instance)
        buffer.raw(Self.closing)
        return buffer.bytes
    }
}
