import Testing

@testable import NMSAPI

@Suite struct JSONParserTests {
    @Test(arguments: [
        ("null", JSONValue.null), (" true ", .bool(true)), ("\t\r\nfalse", .bool(false)),
        ("0", .integer(0)), ("-7", .integer(-7)), ("60.0", .integer(60)), ("6e1", .integer(60)),
        ("0.5", .number(0.5)), ("-1.5E+2", .integer(-150)), ("9223372036854775807", .integer(.max)),
        ("1e300", .number(1e300)), ("99999999999999999999", .number(1e20)),
        (#""a\"\\\/\b\f\n\r\t""#, .string("a\"\\/\u{8}\u{c}\n\r\t")),
        (#""\u00e4\ud83d\ude00""#, .string("ä😀")), (#""ä😀""#, .string("ä😀")),
        ("[]", .array([])), ("[1,[2]]", .array([.integer(1), .array([.integer(2)])])),
        ("{}", .object([:])), (#"{"a":{"b":null}}"#, .object(["a": .object(["b": .null])])),
    ])
    func acceptsJSON(text: String, expected: JSONValue) throws {
        #expect(try JSONValue.parse(text) == expected)
    }

    @Test(arguments: [
        ("", JSONParseError.Reason.unexpectedEnd), ("{", .unexpectedEnd), ("[1,]", .unexpectedByte),
        (#"{"a":1,}"#, .unexpectedByte), ("{'a':1}", .unexpectedByte), (#"{"a" 1}"#, .unexpectedByte),
        ("nul", .unexpectedEnd), ("nulL", .unexpectedByte), ("NaN", .unexpectedByte), ("Infinity", .unexpectedByte),
        ("01", .invalidNumber), ("-", .invalidNumber), ("1.", .invalidNumber), (".5", .unexpectedByte),
        ("1e", .invalidNumber), ("1e999", .invalidNumber), ("+1", .unexpectedByte), ("0x10", .trailingBytes),
        (#""abc"#, .unexpectedEnd), ("\"a\nb\"", .controlCharacter), (#""\x""#, .invalidEscape),
        (#""\ud83d""#, .invalidEscape), (#""\ude00\ud83d""#, .invalidEscape), (#""\u12g4""#, .invalidEscape),
        (#""\u12"#, .unexpectedEnd), ("1 2", .trailingBytes), ("// x\n1", .unexpectedByte),
        ("\u{FEFF}1", .unexpectedByte),
        (#"{"a":1,"a":2}"#, .duplicateKey), (#"{"a":1,"\u0061":2}"#, .duplicateKey),
        (#"{"x":{"a":1,"b":2,"a":3}}"#, .duplicateKey),
    ])
    func refuses(text: String, reason: JSONParseError.Reason) {
        let error = #expect(throws: JSONParseError.self) { try JSONValue.parse(text) }
        #expect(error?.reason == reason)
    }

    @Test func refusesBytesThatAreNotUTF8() {
        let error = #expect(throws: JSONParseError.self) { try JSONParser.parse([0x22, 0xC3, 0x28, 0x22]) }
        #expect(error?.reason == .invalidUTF8)
    }

    @Test func boundsTheDepth() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try JSONValue.parse(nested(JSONParser.maximumDepth))
        let error = #expect(throws: JSONParseError.self) { try JSONValue.parse(nested(JSONParser.maximumDepth + 1)) }
        #expect(error?.reason == .tooDeep)
        // Depth is given back.
        _ = try JSONValue.parse(
            "[" + Array(repeating: nested(JSONParser.maximumDepth - 1), count: 3).joined(separator: ",") + "]"
        )
    }
}
