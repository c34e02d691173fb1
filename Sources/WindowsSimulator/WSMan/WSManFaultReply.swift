/// A SOAP fault as a Windows host writes it.
struct WSManFaultReply: Sendable, Hashable {
    /// `WSManFault/@Code`.
    var code: UInt32
    /// `w:`, `a:`, `n:` or `p:` and a name.
    var subcode: String
    var isSender = true
    var reason: String
    /// The HRESULT that the WMI provider gave, nested below the fault.
    var providerCode: UInt32?
    /// The class or query that the provider refused.
    var providerParameter: String?

    // Codes of wsmerror.h.
    static let accessDenied = Self(code: 5, subcode: "w:AccessDenied", reason: "Access is denied. ")
    static let timedOut = Self(
        code: 2_150_858_793,
        subcode: "w:TimedOut",
        isSender: false,
        reason:
            "The WS-Management service cannot complete the operation within the time specified in OperationTimeout. "
    )
    static let concurrentOperations = Self(
        code: 2_150_859_174,
        subcode: "w:QuotaLimit",
        reason: "The WS-Management service cannot process the request. This user has exceeded the maximum number of "
            + "concurrent operations. Close existing operations for this user, or raise the quota for this user. "
    )
    static let unknownContext = Self(
        code: 2_150_858_779,
        subcode: "n:InvalidEnumerationContext",
        isSender: false,
        reason: "The supplied enumeration context is invalid. "
    )
    static let encodingLimit = Self(
        code: 2_150_858_878,
        subcode: "w:EncodingLimit",
        reason: "The WS-Management service cannot process the request because the specified MaxEnvelopeSize is less "
            + "than the minimum of 8192. "
    )
    static let itemTooLarge = Self(
        code: 2_150_858_805,
        subcode: "w:EncodingLimit",
        reason: "The WS-Management service cannot process the request because the encoding of the response exceeds an "
            + "internal encoding limit. "
    )
    static let invalidXML = Self(
        code: 2_150_858_819,
        subcode: "w:SchemaValidationError",
        reason: "The WS-Management service cannot process the request because the XML is invalid. "
    )
    static let wildcardNeedsFilter = Self(
        code: 2_150_859_003,
        subcode: "w:CannotProcessFilter",
        reason: "The WS-Management service cannot process the request. A WQL filter goes with a resource URI that has "
            + "the class name \"*\", and only with it. "
    )
    static let dialectUnavailable = Self(
        code: 2_150_858_777,
        subcode: "n:FilterDialectRequestedUnavailable",
        reason: "The WS-Management service does not support the filter dialect of the request. "
    )
    static let enumerationModeUnsupported = Self(
        code: 2_150_858_886,
        subcode: "w:UnsupportedFeature",
        reason: "The WS-Management service does not support the enumeration mode of the request. "
    )
    static let selectorsNeeded = Self(
        code: 2_150_858_842,
        subcode: "w:InvalidSelectors",
        reason: "The WS-Management service cannot process the request because the selectors do not name one instance. "
    )

    static func unsupportedAction(_ action: String) -> Self {
        Self(
            code: 2_150_858_753,
            subcode: "a:ActionNotSupported",
            reason: "The WS-Management service cannot process the request. The action \(action) is not supported. "
        )
    }

    static func unknownResource(_ uri: String) -> Self {
        Self(
            code: 2_150_858_752,
            subcode: "a:DestinationUnreachable",
            reason: "The WS-Management service cannot process the request. The service cannot find the resource "
                + "identified by the resource URI and selectors. "
        )
    }

    /// What WMI says to a query that it cannot run.
    static func query(_ error: WQLError, text: String) -> Self {
        var fault = Self(
            code: 2_150_858_778,
            subcode: "n:CannotProcessFilter",
            reason: "The WS-Management service cannot process the request. The data source could not process the "
                + "filter. The filter might be missing or it might be invalid. Change the filter and try the request "
                + "again. "
        )
        fault.providerCode = error.code
        switch error {
        case .invalidClass(let name): fault.providerParameter = name
        case .invalidQuery: fault.providerParameter = text
        }
        return fault
    }

    /// A provider that breaks down, WBEM_E_PROVIDER_FAILURE.
    static let providerFailure = Self(
        code: 2_150_858_755,
        subcode: "w:InternalError",
        isSender: false,
        reason: "The WMI provider returned an error that the service cannot pass on. ",
        providerCode: 0x8004_1004
    )

    /// The whole envelope. Windows declares all its prefixes, used or not.
    func encoded(relatesTo: String, machine: String) -> [UInt8] {
        var buffer = XMLBuffer(capacity: 2_048)
        buffer.raw(
            #"<s:Envelope xml:lang="en-US" xmlns:s="http://www.w3.org/2003/05/soap-envelope""#
                + #" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing""#
                + #" xmlns:x="http://schemas.xmlsoap.org/ws/2004/09/transfer""#
                + #" xmlns:e="http://schemas.xmlsoap.org/ws/2004/08/eventing""#
                + #" xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration""#
                + #" xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd""#
                + #" xmlns:p="http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"><s:Header>"#
                + "<a:Action>http://schemas.dmtf.org/wbem/wsman/1/wsman/fault</a:Action><a:MessageID>"
        )
        buffer.uuid()
        buffer.raw(
            "</a:MessageID><a:To>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:To><a:RelatesTo>"
        )
        buffer.text(relatesTo)
        buffer.raw("</a:RelatesTo></s:Header><s:Body><s:Fault><s:Code><s:Value>")
        buffer.raw(self.isSender ? "s:Sender" : "s:Receiver")
        buffer.raw("</s:Value><s:Subcode><s:Value>\(self.subcode)</s:Value></s:Subcode></s:Code>")
        buffer.raw(#"<s:Reason><s:Text xml:lang="en-US">"#)
        buffer.text(self.reason)
        buffer.raw(
            #"</s:Text></s:Reason><s:Detail><f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault""#
        )
        buffer.raw(#" Code="\#(self.code)" Machine=""#)
        buffer.text(machine)
        buffer.raw(#""><f:Message>"#)
        if let providerCode = self.providerCode {
            self.encodeProvider(providerCode, machine: machine, into: &buffer)
        } else {
            buffer.text(self.reason)
        }
        buffer.raw("</f:Message></f:WSManFault></s:Detail></s:Fault></s:Body></s:Envelope>")
        return buffer.bytes
    }

    private func encodeProvider(_ providerCode: UInt32, machine: String, into buffer: inout XMLBuffer) {
        let words =
            switch providerCode {
            case 0x8004_1010: "Invalid class "
            case 0x8004_1017: "Invalid query "
            default: "Provider failure "
            }
        buffer.raw(
            #"<f:ProviderFault provider="WMI Provider" path="%systemroot%\system32\WsmWmiPl.dll">"#
                + #"<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="\#(providerCode)""#
                + #" Machine=""#
        )
        buffer.text(machine)
        buffer.raw(#""><f:Message>\#(words)</f:Message></f:WSManFault>"#)
        buffer.raw(
            #"<f:ExtendedError><p:__ExtendedStatus xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance""#
                + #" xmlns:p="http://schemas.microsoft.com/wbem/wsman/1/wmi/root/cimv2/__ExtendedStatus""#
                + #" xsi:type="p:__ExtendedStatus_Type"><p:Description xsi:nil="true"/><p:Operation>ExecQuery</p:Operation>"#
                + "<p:ParameterInfo>"
        )
        buffer.text(self.providerParameter ?? "")
        buffer.raw(
            #"</p:ParameterInfo><p:ProviderName>WinMgmt</p:ProviderName><p:StatusCode xsi:nil="true"/>"#
                + "</p:__ExtendedStatus></f:ExtendedError></f:ProviderFault>"
        )
    }
}
