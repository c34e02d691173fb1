import Foundation
import NMSCore
import Testing

/// Against Foundation's encoder: the same value, and for values without floating point the same text.
struct JSONStreamEncoderTests {
    struct Nested: Encodable {
        var text = "a\"b\\c/d\u{8}\t\n\u{c}\r\u{1}\u{1f}é𝄞\u{2028}"
        var empty = ""
        var yes = true
        var no = false
        var missing: Int?
        var numbers: [Int64] = [.min, -1, 0, .max]
        var unsigned: UInt64 = .max
        var small: [Int8] = [-128, 127]
        var none: [Int] = []
        var deep: [[String]] = [[], ["x"], ["y", "z"]]
        var table = ["only": 1]
        var at = Date(timeIntervalSince1970: 1_764_756_300.25)
        var dates = [Date(timeIntervalSince1970: 0)]
    }

    struct Outer: Encodable {
        struct Nothing: Encodable {}

        var first = Nested()
        var list = [Nested(), Nested()]
        var nothing = Nothing()
        var optional: Nested?
        var last = 1
    }

    /// Containers that are asked for and left before others are.
    struct ByHand: Encodable {
        enum Key: String, CodingKey { case a, b, c, d, e }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Key.self)
            try container.encodeNil(forKey: .a)
            var inner = container.nestedContainer(keyedBy: Key.self, forKey: .b)
            try inner.encode(1, forKey: .a)
            var list = inner.nestedUnkeyedContainer(forKey: .c)
            try list.encode("x")
            try list.encodeNil()
            var object = list.nestedContainer(keyedBy: Key.self)
            try object.encode(true, forKey: .d)
            var innermost = list.nestedUnkeyedContainer()
            try innermost.encode(2)
            try container.encode("after", forKey: .c)
            var single = container.superEncoder(forKey: .d).singleValueContainer()
            try single.encode("super")
            _ = container.nestedUnkeyedContainer(forKey: .e)
        }
    }

    @Test func writesWhatFoundationWrites() throws {
        for value in [Outer(), Outer(list: []), Outer(optional: Nested())] {
            #expect(try Self.fields(NMSJSON.encode(value)) == Self.fields(Array(NMSJSON.encoder().encode(value))))
        }
        let text = String(decoding: try NMSJSON.encode(Nested()), as: UTF8.self)
        #expect(text.hasPrefix(#"{"text":"a\"b\\c/d\b\t\n\f\r\u0001\u001fé𝄞"#))
        #expect(text.hasSuffix(#""at":"2025-12-03T10:05:00.250Z","dates":["1970-01-01T00:00:00.000Z"]}"#))
    }

    @Test func closesContainersWhenTheOuterOneGoesOn() throws {
        let expected = #"{"a":null,"b":{"a":1,"c":["x",null,{"d":true},[2]]},"c":"after","d":"super","e":[]}"#
        #expect(String(decoding: try NMSJSON.encode(ByHand()), as: UTF8.self) == expected)
    }

    /// Two parts of one object, each with a container of its own.
    struct InSteps: Encodable {
        enum Key: String, CodingKey { case extra, more }

        func encode(to encoder: any Encoder) throws {
            try Part().encode(to: encoder)
            var container = encoder.container(keyedBy: Key.self)
            try container.encode([1], forKey: .extra)
            try Part().encode(to: container.superEncoder(forKey: .more))
        }

        struct Part: Encodable { var list = [["x": 1]] }
    }

    @Test func oneObjectInSteps() throws {
        let part = #""list":[{"x":1}]"#
        let expected = #"[{\#(part),"extra":[1],"more":{\#(part)}}]"#
        #expect(String(decoding: try NMSJSON.encode([InSteps()]), as: UTF8.self) == expected)
    }

    @Test func valuesAlone() throws {
        #expect(try NMSJSON.encode("x") == Array(#""x""#.utf8))
        #expect(try NMSJSON.encode([Int]()) == Array("[]".utf8))
        #expect(try NMSJSON.encode(Int?.none) == Array("null".utf8))
        #expect(try NMSJSON.encode(Outer.Nothing()) == Array("{}".utf8))
    }

    @Test(arguments: [0, -0.0, 1, 12.5, 99.99, 1e-7, 5e-324, .greatestFiniteMagnitude, 0.1 + 0.2, -3, 1e21])
    func numbersComeBack(number: Double) throws {
        let text = String(decoding: try NMSJSON.encode([number]), as: UTF8.self)
        #expect(try JSONDecoder().decode([Double].self, from: Data(text.utf8)) == [number])
        #expect(!text.contains(".0]"), "\(text)")
    }

    @Test(arguments: [Double.nan, .infinity, -.infinity])
    func notEveryNumberIsJSON(number: Double) {
        #expect(throws: EncodingError.self) { try NMSJSON.encode(["x": number]) }
    }

    private static func fields(_ json: [UInt8]) throws -> NSDictionary {
        try #require(try JSONSerialization.jsonObject(with: Data(json)) as? NSDictionary)
    }
}

/// Against Foundation's formatter.
struct RFC3339Tests {
    @Test func everyKindOfDay() {
        var random = SystemRandomNumberGenerator()
        var moments: [Int64] = [
            0, -1, 1, 951_782_400_000, 951_868_799_999, 1_709_164_800_000, 253_402_300_799_999, 4_107_542_400_000,
            -2_208_988_800_000,
        ]
        // From 1600 on: before, Foundation's calendar is Julian, and RFC 3339 knows only the Gregorian one.
        moments += (0..<2000).map { _ in Int64.random(in: -11_676_096_000_000...253_402_300_799_999, using: &random) }
        let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
        for moment in moments {
            // Half a tenth of a millisecond more: the formatter cuts.
            let date = Date(timeIntervalSince1970: Double(moment) / 1000 + 0.000_05)
            let text = RFC3339.string(millisecondsSince1970: moment)
            #expect(text == date.formatted(style), "\(moment)")
            #expect(RFC3339.string(from: Date(timeIntervalSince1970: Double(moment) / 1000)) == text)
            let back = RFC3339.date(from: text).map { Int64(($0.timeIntervalSince1970 * 1000).rounded()) }
            #expect(back == moment, "\(text)")
        }
    }

    @Test func theEndsOfWhatCanBeWritten() {
        #expect(RFC3339.string(millisecondsSince1970: .min) == "0001-01-01T00:00:00.000Z")
        #expect(RFC3339.string(millisecondsSince1970: .max) == "9999-12-31T23:59:59.999Z")
    }

    @Test(arguments: [
        "2025-02-29T00:00:00.000Z", "2025-13-01T00:00:00.000Z", "2025-00-01T00:00:00.000Z", "2025-01-32T00:00:00.000Z",
        "2025-01-00T00:00:00.000Z", "2025-01-01T25:00:00.000Z", "2025-01-01T00:60:00.000Z", "2025-01-01T00:00:00.00AZ",
        "2025-01-01 00:00:00.000+", "２025-01-01T00:00:00.0Z", "",
    ])
    func noMoment(text: String) {
        #expect(RFC3339.date(from: text) == nil)
    }

    @Test func otherFormsAreRead() {
        let expected = Date(timeIntervalSince1970: 1_764_756_300)
        for text in ["2025-12-03T10:05:00Z", "2025-12-03T12:05:00+02:00", "2025-12-03T10:05:00.000Z"] {
            #expect(RFC3339.date(from: text) == expected)
        }
    }
}
