import Testing
import WinRM

@Suite struct XMLPullParserTests {
    /// The events of a document as lines, neighbouring texts joined.
    static func events(_ bytes: [UInt8], limits: XMLLimits = XMLLimits()) throws(XMLError) -> [String] {
        var parser = try XMLPullParser(bytes, limits: limits)
        var lines: [String] = []
        var text = ""
        while true {
            let event = try parser.next()
            if event == .text {
                text += parser.text
                continue
            }
            if !text.isEmpty { lines.append("text " + text) }
            text = ""
            switch event {
            case .startElement:
                let attributes = parser.allAttributes.map { #" {\#($0.namespace)}\#($0.local)="\#($0.value)""# }
                let sorted = attributes.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
                lines.append("start {\(parser.namespaceURI)}\(parser.localName)" + sorted.joined())
            case .endElement:
                lines.append("end {\(parser.namespaceURI)}\(parser.localName)")
            case .endOfDocument:
                return lines
            case .text:
                break
            }
        }
    }

    static func failure(_ bytes: [UInt8], limits: XMLLimits = XMLLimits()) -> XMLError? {
        do throws(XMLError) {
            _ = try Self.events(bytes, limits: limits)
            return nil
        } catch {
            return error
        }
    }

    @Test func reportsElementsAttributesAndText() throws {
        let document = """
            <?xml version="1.0" encoding="utf-8"?><!-- c --><a x='1' y="a&lt;b&#10;c\td"><b/>t&amp;u<![CDATA[<&]]>v</a ><?p i?>
            """
        #expect(
            try Self.events(document.bytes) == [
                "start {}a {}x=\"1\" {}y=\"a<b\nc d\"", "start {}b", "end {}b", "text t&u<&v", "end {}a",
            ]
        )
    }

    @Test func resolvesNamespaces() throws {
        let document = """
            <a xmlns="u:d" xmlns:p="u:p"><p:b p:x="1" x="2"/><c xmlns=""><p:d xmlns:p="u:q&amp;r"/></c><e/></a>
            """
        #expect(
            try Self.events(document.bytes) == [
                "start {u:d}a", #"start {u:p}b {u:p}x="1" {}x="2""#, "end {u:p}b", "start {}c", "start {u:q&r}d",
                "end {u:q&r}d", "end {}c", "start {u:d}e", "end {u:d}e", "end {u:d}a",
            ]
        )
    }

    @Test func knowsThePrefixXML() throws {
        var parser = try XMLPullParser("<a xml:lang='en'/>".bytes)
        #expect(try parser.next() == .startElement)
        #expect(parser.attribute(.xml, "lang") == "en")
        #expect(parser.attribute(.none, "lang") == nil)
    }

    @Test func comparesNamesAsBytes() throws {
        var parser = try XMLPullParser("<p:Items xmlns:p='http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd'/>".bytes)
        #expect(try parser.next() == .startElement)
        #expect(parser.isElement(WSManNames.wsman, "Items"))
        #expect(!parser.isElement(WSManNames.wsman, "Item"))
        #expect(!parser.isElement(WSManNames.enumeration, "Items"))
        #expect(parser.isElement(in: WSManNames.wsman))
        #expect(!parser.isElement(.none, "Items"))
    }

    @Test func normalisesLineEnds() throws {
        #expect(
            try Self.events("<a b='1\r\n2\r3'>x\r\ny\rz&#13;<![CDATA[\r\n]]></a>".bytes) == [
                #"start {}a {}b="1 2 3""#, "text x\ny\nz\r\n", "end {}a",
            ]
        )
    }

    @Test func skipsAndReadsWholeElements() throws {
        var parser = try XMLPullParser("<a><b><c/>x<c>y</c></b><d>1<!-- -->2</d></a>".bytes)
        #expect(try parser.next() == .startElement)
        #expect(try parser.nextChild())
        try parser.skip()
        #expect(try parser.nextChild())
        #expect(parser.localName == "d")
        #expect(try parser.readText() == "12")
        #expect(try !parser.nextChild())
        try parser.finish()
    }

    @Test func readTextRefusesElements() throws {
        var parser = try XMLPullParser("<a>x<b/></a>".bytes)
        _ = try parser.next()
        #expect(throws: XMLError.self) { try parser.readText() }
    }

    @Test(arguments: [
        "<!DOCTYPE a><a/>",
        "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
        "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        """
        <!DOCTYPE l [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;">]><l>&c;</l>
        """,
    ])
    func refusesDocumentTypes(document: String) {
        #expect(Self.failure(document.bytes)?.reason == .doctypeForbidden)
    }

    @Test(arguments: ["&e;", "&LT;", "&#x41;&bogus;", "&nbsp;"])
    func refusesUnknownEntities(text: String) {
        #expect(Self.failure("<a>\(text)</a>".bytes)?.reason == .unknownEntity)
        #expect(Self.failure("<a b='\(text)'/>".bytes)?.reason == .unknownEntity)
    }

    @Test(
        arguments: [
            [0x00], [0x01], [0x0B], [0x1F], [0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80],
            [0xEF, 0xBF, 0xBF], [0xE2, 0x82], [0x80], [0xF8, 0x88, 0x80, 0x80, 0x80],
        ] as [[UInt8]]
    )
    func refusesCharactersThatXMLDoesNotAllow(bytes: [UInt8]) {
        #expect(Self.failure("<a>".bytes + bytes + "</a>".bytes)?.reason == .invalidCharacter)
    }

    @Test(arguments: ["&#0;", "&#x1F;", "&#xFFFE;", "&#xD800;", "&#x110000;", "&#99999999;"])
    func refusesReferencesToCharactersThatXMLDoesNotAllow(reference: String) {
        #expect(Self.failure("<a>\(reference)</a>".bytes)?.reason == .invalidCharacter)
    }

    @Test func refusesOtherEncodings() {
        let utf16 = Array("<a/>".utf16).flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
        for bytes in [
            [0xFF, 0xFE] + utf16, utf16, [0xFE, 0xFF, 0x00, 0x3C], [0x00, 0x3C, 0x00, 0x61], [0x00, 0x00, 0x00, 0x3C],
            "<?xml version='1.0' encoding='UTF-16'?><a/>".bytes,
            "<?xml version='1.0' encoding='iso-8859-1'?><a/>".bytes,
        ] {
            guard case .unsupportedEncoding? = Self.failure(bytes)?.reason else {
                Issue.record("accepted \(bytes)")
                continue
            }
        }
        #expect(Self.failure([0xEF, 0xBB, 0xBF] + "<?xml version='1.0' encoding='UTF-8'?><a/>".bytes) == nil)
    }

    @Test(arguments: [
        "", " ", "x", "<a>", "<a", "</a>", "<a></b>", "<a></ab>", "<ab></a>", "<a/><b/>", "<a/>x", "x<a/>", "<a/>&amp;",
        "<a b/>", "<a b=c/>", "<a b='1' b='2'/>", "<a b='1'c='2'/>", "<a b='<'/>", "<a b='&'/>", "<a b='&lt'/>",
        "<a>&lt</a>", "<a>&;</a>", "<a>&#;</a>", "<a>&#x;</a>", "<a>&#xg;</a>", "<a>&#1a;</a>", "<a>]]></a>",
        "<a><![CDATA[x</a>", "<a><![cdata[x]]></a>", "<![CDATA[x]]><a/>", "<a><!-- -- --></a>", "<a><!-- --",
        "<a><!--->",
        "<a><!x></a>", "<a><?xml version='1.0'?></a>", "<?xml version='1.0'?", "<?xml?><a/>",
        "<?xml encoding='UTF-8'?><a/>",
        " <?xml version='1.0'?><a/>", "<a><?p</a>", "<a><? p?></a>", "<1a/>", "<-a/>", "<a.b:c/>", "<p:a/>",
        "<a p:b='1'/>",
        "<a:b:c xmlns:a='u'/>", "<:a/>", "<a:/>", "<a xmlns:p=''/>", "<a xmlns:xmlns='u'/>", "<a xmlns:xml='u'/>",
        "<a xmlns:p='http://www.w3.org/2000/xmlns/'/>", "<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns:p='u' xmlns:q='u' p:x='1' q:x='2'/>", "<a xmlns:p='u' xmlns:p='v'/>", "<a xmlns='u' xmlns='v'/>",
        "<a / >", "< a/>", "<a></a", "<a></ a>", "<a b = '1></a>", "<a\u{D7}/>", "<é><e/></é", "<xmlns:a/>",
    ])
    func refusesWhatIsNotWellFormed(document: String) {
        #expect(Self.failure(document.bytes) != nil)
    }

    @Test(arguments: [
        "<a.b-c_d/>", "<é è='1'/>", "<a b = '1' />", "<a\n b='1'\n/>", "<a></a\n>", "<a>]]</a>", "<a>]]&gt;</a>",
        "<a xmlns=''/>", "<?xml version='1.1' standalone='yes' ?><a/>", "<a><?p?></a>", "<a><?p x?y ?></a>",
        "<a><!-- - --></a>", "<a><!----></a>", "<a><![CDATA[]]></a>", "<a><![CDATA[]]]]></a>", "\u{FEFF}<a/>\n\n",
        "<a xmlns:p='u'><b xmlns:p='u' p:x='1' x='2'/></a>", "<p:a xmlns:p='u'/>", "<a>&#x10FFFF;&#9;</a>",
        "<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
    ])
    func acceptsWhatIsWellFormed(document: String) {
        #expect(Self.failure(document.bytes) == nil)
    }

    @Test func boundsEverything() {
        var limits = XMLLimits()
        limits.maximumBytes = 2000
        limits.maximumDepth = 5
        limits.maximumAttributes = 3
        limits.maximumNameLength = 10
        limits.maximumAttributeLength = 20
        func isLimited(_ document: String) -> Bool {
            if case .limitExceeded? = Self.failure(document.bytes, limits: limits)?.reason { true } else { false }
        }
        func nested(_ depth: Int) -> String {
            String(repeating: "<a>", count: depth) + String(repeating: "</a>", count: depth)
        }
        #expect(!isLimited(nested(5)))
        #expect(isLimited(nested(6)))
        #expect(!isLimited("<a b='' c='' xmlns:d='d'/>"))
        #expect(isLimited("<a b='' c='' d='' xmlns:d='d'/>"))
        #expect(!isLimited("<abcdefghij/>"))
        #expect(isLimited("<abcdefghijk/>"))
        #expect(isLimited("<abcdef:ghijk xmlns:abcdef='u'/>"))
        #expect(!isLimited("<a b='\(String(repeating: "x", count: 20))'/>"))
        #expect(isLimited("<a b='\(String(repeating: "x", count: 21))'/>"))
        #expect(!isLimited("<a>\(String(repeating: "x", count: 1993))</a>"))
        #expect(isLimited("<a>\(String(repeating: "x", count: 1994))</a>"))
    }

    @Test func boundsNestingByDefault() {
        let document = String(repeating: "<a>", count: 100_000)
        #expect(Self.failure(document.bytes)?.reason == .limitExceeded("elements inside one another"))
    }
}
