import WinRM

/// A request envelope as a Windows host reads it.
struct WSManIncoming: Sendable {
    /// What the body asks for.
    enum Operation: Sendable, Hashable {
        case identify
        case enumerate(Enumerate)
        case pull(context: String, maximumElements: Int)
        case release(context: String)
        case get
        case unsupported(action: String)
    }

    struct Enumerate: Sendable, Hashable {
        var isOptimized = false
        var maximumElements = 1
        var filterDialect: String?
        var filter: String?
        var mode: String?
    }

    var action = ""
    var messageID = ""
    var resourceURI = ""
    /// Bytes; nil if the client stated none.
    var maximumEnvelopeSize: Int?
    /// Seconds; nil if the client stated none.
    var operationTimeout: Double?
    var selectors: [String: String] = [:]
    var operation = Operation.unsupported(action: "")

    /// - Throws: `XMLError` for what is no XML or too deep, ``SOAPError`` for what is no SOAP 1.2 envelope.
    init(_ bytes: [UInt8]) throws {
        var parser = try XMLPullParser(bytes)
        guard try parser.next() == .startElement, parser.isElement(WSManNames.soap, "Envelope") else {
            throw SOAPError.notAnEnvelope
        }
        while try parser.nextChild() {
            if parser.isElement(WSManNames.soap, "Header") {
                try self.readHeader(&parser)
            } else if parser.isElement(WSManNames.soap, "Body") {
                try self.readBody(&parser)
            } else {
                try parser.skip()
            }
        }
        try parser.finish()
    }

    enum SOAPError: Error {
        case notAnEnvelope
    }

    private mutating func readHeader(_ parser: inout XMLPullParser) throws {
        while try parser.nextChild() {
            if parser.isElement(WSManNames.addressing, "Action") {
                self.action = try Self.trimmedText(&parser)
            } else if parser.isElement(WSManNames.addressing, "MessageID") {
                self.messageID = try Self.trimmedText(&parser)
            } else if parser.isElement(WSManNames.wsman, "ResourceURI") {
                self.resourceURI = try Self.trimmedText(&parser)
            } else if parser.isElement(WSManNames.wsman, "MaxEnvelopeSize") {
                self.maximumEnvelopeSize = Int(try Self.trimmedText(&parser))
            } else if parser.isElement(WSManNames.wsman, "OperationTimeout") {
                self.operationTimeout = XMLDuration.seconds(try Self.trimmedText(&parser))
            } else if parser.isElement(WSManNames.wsman, "SelectorSet") {
                while try parser.nextChild() {
                    let name = parser.attribute(.none, "Name") ?? ""
                    self.selectors[name.lowercased()] = try parser.readText()
                }
            } else {
                try parser.skip()
            }
        }
    }

    private mutating func readBody(_ parser: inout XMLPullParser) throws {
        self.operation = self.action == Self.getAction ? .get : .unsupported(action: self.action)
        while try parser.nextChild() {
            if parser.isElement(WSManNames.identity, "Identify") {
                self.operation = .identify
                try parser.skip()
            } else if parser.isElement(WSManNames.enumeration, "Enumerate") {
                self.operation = .enumerate(try Self.readEnumerate(&parser))
            } else if parser.isElement(WSManNames.enumeration, "Pull") {
                self.operation = try Self.readPull(&parser)
            } else if parser.isElement(WSManNames.enumeration, "Release") {
                self.operation = .release(context: try Self.readContext(&parser))
            } else {
                try parser.skip()
            }
        }
    }

    /// WS-Transfer's Get.
    static let getAction = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get"

    private static func readEnumerate(_ parser: inout XMLPullParser) throws -> Enumerate {
        var enumerate = Enumerate()
        while try parser.nextChild() {
            if parser.isElement(WSManNames.wsman, "OptimizeEnumeration") {
                enumerate.isOptimized = true
                try parser.skip()
            } else if parser.isElement(WSManNames.wsman, "MaxElements") {
                enumerate.maximumElements = max(1, Int(try Self.trimmedText(&parser)) ?? 1)
            } else if parser.isElement(WSManNames.wsman, "EnumerationMode") {
                enumerate.mode = try Self.trimmedText(&parser)
            } else if parser.isElement(WSManNames.wsman, "Filter") {
                enumerate.filterDialect = parser.attribute(.none, "Dialect")
                enumerate.filter = try parser.readText()
            } else {
                try parser.skip()
            }
        }
        return enumerate
    }

    private static func readPull(_ parser: inout XMLPullParser) throws -> Operation {
        var context = ""
        // Without a number, one row for each request.
        var maximumElements = 1
        while try parser.nextChild() {
            if parser.isElement(WSManNames.enumeration, "EnumerationContext") {
                context = try Self.trimmedText(&parser)
            } else if parser.isElement(WSManNames.enumeration, "MaxElements") {
                maximumElements = max(1, Int(try Self.trimmedText(&parser)) ?? 1)
            } else {
                try parser.skip()
            }
        }
        return .pull(context: context, maximumElements: maximumElements)
    }

    private static func readContext(_ parser: inout XMLPullParser) throws -> String {
        var context = ""
        while try parser.nextChild() {
            if parser.isElement(WSManNames.enumeration, "EnumerationContext") {
                context = try Self.trimmedText(&parser)
            } else {
                try parser.skip()
            }
        }
        return context
    }

    private static func trimmedText(_ parser: inout XMLPullParser) throws -> String {
        let text = try parser.readText()
        return String(text.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
    }
}

/// `xs:duration` without years and months.
enum XMLDuration {
    /// Seconds; nil for text that is no such duration.
    static func seconds(_ text: String) -> Double? {
        guard text.first == "P" else { return nil }
        var total = 0.0
        var number = ""
        var inTime = false
        for character in text.dropFirst() {
            switch character {
            case "T": inTime = true
            case "0"..."9", ".": number.append(character)
            case "D", "H", "M", "S":
                guard let value = Double(number) else { return nil }
                switch (character, inTime) {
                case ("D", false): total += value * 86_400
                case ("H", true): total += value * 3_600
                case ("M", true): total += value * 60
                case ("S", true): total += value
                default: return nil
                }
                number = ""
            default: return nil
            }
        }
        return number.isEmpty ? total : nil
    }
}
