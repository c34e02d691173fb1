// Any bytes as an XML document.

import Driver
import Foundation
import WinRM

exit(
    fuzz { data, size in
        let limits = XMLLimits()
        guard var parser = try? XMLPullParser(array(data, size), limits: limits) else { return 0 }
        var open = 0
        while let event = try? parser.next() {
            switch event {
            case .startElement:
                open += 1
                precondition(parser.attributeCount <= limits.maximumAttributes)
                precondition(!parser.localName.isEmpty)
                for attribute in parser.allAttributes { survives(attribute.value) }
            case .endElement:
                open -= 1
            case .text:
                survives(parser.text)
            case .endOfDocument:
                precondition(open == 0)
                return 0
            }
            precondition(parser.depth == open && open <= limits.maximumDepth)
        }
        return 0
    }
)

/// What was read once is read the same after it was written, as text and as an attribute's value.
func survives(_ text: String) {
    var writer = XMLWriter()
    writer.element("a", ["b": text], text: text)
    guard var parser = try? XMLPullParser(writer.bytes), (try? parser.next()) == .startElement else {
        // The one thing that cannot come back is an attribute over its limit, by escapes that made it longer.
        precondition(text.utf8.count * 6 > XMLLimits.defaultMaximumAttributeLength)
        return
    }
    precondition(parser.attribute(.none, "b") == text)
    precondition((try? parser.readText()) == text)
}
