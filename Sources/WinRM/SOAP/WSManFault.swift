/// A SOAP fault as Windows hosts send it, with HTTP status 500 or 200.
///
/// Faults nest: the code that says most is often in a provider's fault inside. All codes are kept, outermost first.
package struct WSManFault: Error, Sendable, Hashable {
    /// What a fault is about, as far as its codes tell.
    package enum Kind: Sendable, Hashable {
        /// The account is known but may not do this.
        case accessDenied
        /// A quota of the host or the account is used up; trying again later may succeed.
        case quotaExceeded
        /// The host gave up after the `OperationTimeout`.
        case timedOut
        /// Class, namespace or resource is not there, or the filter is wrong; hosts use one code for both.
        case missingClass
        /// The answer would have been larger than the request or the host allows.
        case tooLarge
        case other
    }

    /// Texts are cut to this many characters, since the host can send any amount.
    package static let maximumTextLength = 1024
    /// Codes and details beyond this many are left out.
    package static let maximumNested = 16

    /// `Sender`, `Receiver`, `MustUnderstand` and so on, without a prefix.
    package var code: String
    /// For example `AccessDenied`, without a prefix.
    package var subcode: String?
    /// What the host says to people.
    package var reason: String
    /// Codes of `WSManFault` and `MSFT_WmiError` elements, outermost first.
    package var windowsCodes: [WSManFaultCode]
    /// The host that the fault names.
    package var machine: String?
    /// The WMI or WS-Management provider that failed.
    package var provider: String?
    /// The innermost message.
    package var message: String?
    /// Texts of an extended error, such as `Operation` and `ParameterInfo`, in document order.
    package var details: [Detail]

    /// One property of an extended error.
    package struct Detail: Sendable, Hashable {
        package var name: String
        package var text: String

        package init(name: String, text: String) {
            self.name = name
            self.text = text
        }
    }

    package init(
        code: String,
        subcode: String? = nil,
        reason: String = "",
        windowsCodes: [WSManFaultCode] = [],
        machine: String? = nil,
        provider: String? = nil,
        message: String? = nil,
        details: [Detail] = []
    ) {
        self.code = code
        self.subcode = subcode
        self.reason = reason
        self.windowsCodes = windowsCodes
        self.machine = machine
        self.provider = provider
        self.message = message
        self.details = details
    }

    /// What the fault is about: by the innermost code that is known, else by the subcode of [DSP0226] 14.6.
    package var kind: Kind {
        for code in self.windowsCodes.reversed() {
            if WSManFaultCode.accessCodes.contains(code) { return .accessDenied }
            if WSManFaultCode.quotaCodes.contains(code) { return .quotaExceeded }
            if WSManFaultCode.timeoutCodes.contains(code) { return .timedOut }
            if WSManFaultCode.sizeCodes.contains(code) { return .tooLarge }
            if WSManFaultCode.missingClassCodes.contains(code) { return .missingClass }
        }
        switch self.subcode {
        case "AccessDenied": return .accessDenied
        case "QuotaLimit", "Concurrency": return .quotaExceeded
        case "TimedOut": return .timedOut
        case "EncodingLimit": return .tooLarge
        case "DestinationUnreachable", "CannotProcessFilter": return .missingClass
        default: return .other
        }
    }
}

extension WSManFault: CustomStringConvertible {
    package var description: String {
        var text = "the host answered with a fault: \(self.code)"
        if let subcode { text += "/\(subcode)" }
        if !self.windowsCodes.isEmpty {
            text += ", code " + self.windowsCodes.map(\.description).joined(separator: ", ")
        }
        let words = self.message ?? self.reason
        if !words.isEmpty { text += ": \(words)" }
        return text
    }
}

/// Collects a fault from the parser, which stands at the start of `s:Fault`.
struct WSManFaultDecoder {
    private enum Element {
        case message
        case errorCode
        case detail(String)
        case other
    }

    private var fault = WSManFault(code: "")

    static func decode(_ parser: inout XMLPullParser) throws(XMLError) -> WSManFault {
        var decoder = WSManFaultDecoder()
        while try parser.nextChild() {
            if parser.isElement(WSManNames.soap, "Code") {
                try decoder.decodeCode(&parser)
            } else if parser.isElement(WSManNames.soap, "Reason") {
                try decoder.decodeReason(&parser)
            } else if parser.isElement(WSManNames.soap, "Detail") {
                try decoder.decodeDetail(&parser)
            } else {
                try parser.skip()
            }
        }
        return decoder.fault
    }

    private mutating func decodeCode(_ parser: inout XMLPullParser) throws(XMLError) {
        while try parser.nextChild() {
            if parser.isElement(WSManNames.soap, "Value") {
                self.fault.code = Self.localPart(try parser.readText())
            } else if parser.isElement(WSManNames.soap, "Subcode") {
                while try parser.nextChild() {
                    if parser.isElement(WSManNames.soap, "Value") {
                        self.fault.subcode = Self.localPart(try parser.readText())
                    } else {
                        try parser.skip()
                    }
                }
            } else {
                try parser.skip()
            }
        }
    }

    private mutating func decodeReason(_ parser: inout XMLPullParser) throws(XMLError) {
        while try parser.nextChild() {
            let isText = parser.isElement(WSManNames.soap, "Text")
            let text = try Self.allText(&parser)
            if isText, self.fault.reason.isEmpty { self.fault.reason = text }
        }
    }

    /// Walks the whole detail, since providers nest faults and extended errors as they like.
    private mutating func decodeDetail(_ parser: inout XMLPullParser) throws(XMLError) {
        let outer = parser.depth - 1
        var open: [(element: Element, text: String)] = []
        while true {
            switch try parser.next() {
            case .startElement:
                open.append((self.begin(&parser), ""))
            case .text:
                if !open.isEmpty, open[open.count - 1].text.utf8.count < 4 * WSManFault.maximumTextLength {
                    open[open.count - 1].text += parser.text
                }
            case .endElement:
                if parser.depth == outer { return }
                if let (element, text) = open.popLast() { self.end(element, Self.shortened(text)) }
            case .endOfDocument:
                throw XMLError(.unexpectedEnd, at: parser.offset)
            }
        }
    }

    private mutating func begin(_ parser: inout XMLPullParser) -> Element {
        if parser.isElement(WSManNames.wsmanFault, "WSManFault") {
            self.add(code: parser.attribute(.none, "Code"))
            if let machine = parser.attribute(.none, "Machine") { self.fault.machine = Self.shortened(machine) }
            return .other
        }
        if parser.isElement(WSManNames.wsmanFault, "ProviderFault") {
            if let provider = parser.attribute(.none, "provider") { self.fault.provider = Self.shortened(provider) }
            return .message
        }
        switch parser.localName {
        case "Message", "error_WindowsErrorMessage": return .message
        case "error_Code", "StatusCode": return .errorCode
        case let name where ["Operation", "ParameterInfo", "ProviderName", "Description", "FaultDetail"].contains(name):
            return .detail(name)
        default: return .other
        }
    }

    private mutating func end(_ element: Element, _ text: String) {
        guard !text.isEmpty else { return }
        switch element {
        case .message:
            // The inner message ends first and says more than what surrounds it.
            if self.fault.message == nil { self.fault.message = text }
        case .errorCode:
            self.add(code: text)
        case .detail(let name):
            if self.fault.details.count < WSManFault.maximumNested {
                self.fault.details.append(WSManFault.Detail(name: name, text: text))
            }
        case .other:
            break
        }
    }

    private mutating func add(code: String?) {
        guard let code, self.fault.windowsCodes.count < WSManFault.maximumNested else { return }
        // Win32 errors and HRESULTs come unsigned, but some providers write HRESULTs as negative numbers.
        let number = UInt32(code) ?? Int32(code).map { UInt32(bitPattern: $0) }
        if let number { self.fault.windowsCodes.append(WSManFaultCode(number)) }
    }

    /// All text within an element, read to its end, elements inside left out.
    private static func allText(_ parser: inout XMLPullParser) throws(XMLError) -> String {
        let outer = parser.depth - 1
        var text = ""
        while true {
            switch try parser.next() {
            case .text: if text.utf8.count < 4 * WSManFault.maximumTextLength { text += parser.text }
            case .endElement: if parser.depth == outer { return Self.shortened(text) }
            case .startElement: continue
            case .endOfDocument: throw XMLError(.unexpectedEnd, at: parser.offset)
            }
        }
    }

    private static func localPart(_ name: String) -> String {
        let trimmed = Self.shortened(name)
        return trimmed.lastIndex(of: ":").map { String(trimmed[trimmed.index(after: $0)...]) } ?? trimmed
    }

    /// Without surrounding and repeated white space, cut to the limit.
    static func shortened(_ text: String) -> String {
        let words = text.split { $0.isWhitespace }.joined(separator: " ")
        return String(words.prefix(WSManFault.maximumTextLength))
    }
}
