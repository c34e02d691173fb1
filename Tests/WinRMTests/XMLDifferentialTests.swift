import Foundation
import Testing
import WinRM

#if canImport(FoundationXML)
import FoundationXML
#endif

/// Compares with other parsers, libxml2 behind Foundation and Expat behind Python: what this one accepts, they must accept
/// and understand in the same way, and what it refuses must be wrong there, too, or forbidden here.
@Suite struct XMLDifferentialTests {
    private static let documents = [
        "<a/>", "<a x='1'>b</a>", "<p:a xmlns:p='u:p' p:x='&lt;&#65;'><b xmlns='u:b'>t<c/>&amp;</b></p:a>",
        "<a>\r\n<![CDATA[ <x> & ]]>\r</a>", "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!-- c --><a><?p q?></a>\n",
        "<a b=\"x&#10;y\tz\"/>", "<ä ö='ü'>ß\u{1F600}</ä>", "<a xml:lang='de' xmlns=''><b>&quot;&apos;&gt;</b></a>",
    ]

    static func corpus() throws -> [[UInt8]] {
        try Self.documents.map(\.bytes) + allFixtures.map { try fixture($0) }
    }

    @Test func understandsTheSame() throws {
        for document in try Self.corpus() {
            #expect(try XMLPullParserTests.events(document) == Oracle.events(document))
        }
    }

    @Test func refusesEveryTruncation() throws {
        for document in try Self.corpus() {
            let trimmed = Array(document.reversed().drop { $0 == 0x0A }.reversed())
            for length in 0..<trimmed.count {
                let piece = Array(trimmed[..<length])
                guard XMLPullParserTests.failure(piece) == nil else { continue }
                // A document followed by a comment or the like is complete before its end.
                #expect(Oracle.events(piece) != nil, "accepted \(length) bytes of \(document.text)")
            }
        }
    }

    /// One to three bytes are replaced, removed or doubled; the same documents each time. Expat judges, since
    /// Foundation's parser traps on some of them.
    @Test func agreesOnDamagedDocuments() throws {
        var generator = SeededGenerator(state: 7)
        let alphabet = "<>/&;'\"=!?-[]:x# \nn\u{0}a1".bytes + [0xC3, 0xA4, 0xFF]
        let corpus = try Self.corpus()
        let documents = (0..<4000).map { round in
            var document = corpus[round % corpus.count]
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let index = Int.random(in: 0..<document.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: document[index] = alphabet.randomElement(using: &generator) ?? 0
                case 1: document.remove(at: index)
                default: document.insert(document[index], at: index)
                }
            }
            return document
        }
        let verdicts = try Expat.events(documents)
        try #require(verdicts.count == documents.count)
        for (document, theirs) in zip(documents, verdicts) {
            do throws(XMLError) {
                let ours = try XMLPullParserTests.events(document)
                #expect(ours == theirs, "\(document.text.debugDescription)")
            } catch {
                switch error.reason {
                // Expat takes any version number.
                case .doctypeForbidden, .unsupportedEncoding: continue
                case .malformed(let rule) where "\(rule)" == "the XML version": continue
                default: #expect(theirs == nil, "only we refuse (\(error)): \(document.text.debugDescription)")
                }
            }
        }
        #expect(verdicts.contains { $0 == nil })
        #expect(verdicts.contains { $0 != nil })
    }
}

/// Expat in a Python process.
private enum Expat {
    /// The events of each document in the form of `XMLPullParserTests.events`, nil for those that are refused.
    static func events(_ documents: [[UInt8]]) throws -> [[String]?] {
        let input = documents.map { Data($0).base64EncodedString() }.joined(separator: "\n")
        let output = try Python.run("xml_expat.py", input: Data(input.utf8))
        return try JSONDecoder().decode([[String]?].self, from: output)
    }
}

/// Foundation's parser, with its events in the same form as `XMLPullParserTests.events`.
private final class Oracle: NSObject, XMLParserDelegate {
    private var lines: [String] = []
    private var text = ""
    /// Prefixes in scope, since attributes are reported with prefixes only.
    private var bindings: [[String: String]] = [["xml": "http://www.w3.org/XML/1998/namespace"]]
    private var pending: [String: String] = [:]

    static func events(_ bytes: [UInt8]) -> [String]? {
        let parser = XMLParser(data: Data(bytes))
        parser.shouldProcessNamespaces = true
        parser.shouldReportNamespacePrefixes = true
        let oracle = Oracle()
        parser.delegate = oracle
        _ = parser.parse()
        return parser.parserError == nil || parser.parserError?.isRelativeNamespaceWarning == true ? oracle.lines : nil
    }

    private func flush() {
        if !self.text.isEmpty { self.lines.append("text " + self.text) }
        self.text = ""
    }

    func parser(_ parser: XMLParser, didStartMappingPrefix prefix: String, toURI namespaceURI: String) {
        self.pending[prefix] = namespaceURI
    }

    func parser(
        _ parser: XMLParser,
        didStartElement elementName: String,
        namespaceURI: String?,
        qualifiedName qName: String?,
        attributes attributeDict: [String: String] = [:]
    ) {
        self.flush()
        self.bindings.append(self.bindings[self.bindings.count - 1].merging(self.pending) { $1 })
        self.pending = [:]
        let scope = self.bindings[self.bindings.count - 1]
        let attributes = attributeDict.compactMap { name, value -> String? in
            if name == "xmlns" || name.hasPrefix("xmlns:") { return nil }
            let parts = name.split(separator: ":", maxSplits: 1)
            let uri = parts.count == 2 ? scope[String(parts[0])] ?? "?" : ""
            return #" {\#(uri)}\#(parts[parts.count - 1])="\#(value)""#
        }
        self.lines.append(
            "start {\(namespaceURI ?? "")}\(elementName)"
                + attributes.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.joined()
        )
    }

    func parser(
        _ parser: XMLParser,
        didEndElement elementName: String,
        namespaceURI: String?,
        qualifiedName qName: String?
    ) {
        self.flush()
        self.bindings.removeLast()
        self.lines.append("end {\(namespaceURI ?? "")}\(elementName)")
    }

    func parser(_ parser: XMLParser, foundCharacters string: String) {
        self.text += string
    }

    func parser(_ parser: XMLParser, foundCDATA CDATABlock: Data) {
        self.text += String(decoding: CDATABlock, as: UTF8.self)
    }
}

extension Error {
    /// libxml2 warns of a namespace name that is not an absolute URI.
    fileprivate var isRelativeNamespaceWarning: Bool { (self as NSError).code == 100 }
}
