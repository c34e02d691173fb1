import Testing
import WinRM

@Suite struct XMLWriterTests {
    @Test func writesElementsAndAttributes() {
        var writer = XMLWriter()
        writer.start("s:a")
        writer.namespace("s", "u:s")
        writer.namespace("", "u:d")
        writer.element("b")
        writer.element("c", ["x": "1"], text: "t")
        writer.element("d") { writer in writer.text("u") }
        writer.end()
        #expect(writer.string == #"<s:a xmlns:s="u:s" xmlns="u:d"><b/><c x="1">t</c><d>u</d></s:a>"#)
    }

    @Test func escapesWhatAParserWouldTakeForMarkupOrChange() throws {
        let text = "<a & b> ]]> \" ' \r\n\t é \u{1F600}"
        var writer = XMLWriter()
        writer.element("a", ["b": text], text: text)
        var parser = try XMLPullParser(writer.bytes)
        #expect(try parser.next() == .startElement)
        #expect(parser.attribute(.none, "b") == text)
        #expect(try parser.readText() == text)
    }

    @Test func replacesWhatXMLCannotCarry() throws {
        var writer = XMLWriter()
        writer.element("a", text: "x\u{0}\u{1}\u{FFFE}y")
        #expect(writer.string == "<a>x\u{FFFD}\u{FFFD}\u{FFFD}y</a>")
        #expect(XMLPullParserTests.failure(writer.bytes) == nil)
    }
}
