internal import Foundation

extension NMSJSON {
    /// A value as JSON text in UTF-8 (RFC 8259): times in RFC 3339, slashes as they are.
    ///
    /// Writes straight into one buffer, in the order in which a value names its fields. Foundation's encoder builds a
    /// tree of boxes first, which takes several times as long.
    /// - Throws: `EncodingError` for a number that is not finite, or what `value` throws.
    package static func encode(_ value: some Encodable) throws -> [UInt8] {
        let output = JSONStream()
        try output.write(value)
        return output.bytes
    }
}

/// The buffer, and the objects and arrays that are not closed yet.
///
/// Nobody tells an encoder when a container is complete: it is when something is written on a level further out.
private final class JSONStream {
    private(set) var bytes: [UInt8] = []
    /// What closes each open container, and whether it has an element.
    private var open: [(closing: UInt8, isEmpty: Bool)] = []

    init() { self.bytes.reserveCapacity(1024) }

    var depth: Int { self.open.count }

    func close(to depth: Int) {
        while self.open.count > depth {
            self.bytes.append(self.open.removeLast().closing)
        }
    }

    /// Opens a container; returns its depth.
    ///
    /// - Parameter level: how many are open around the value. When there is one more, it is the value's own: types that
    ///   share a part with others encode themselves in several steps.
    func begin(_ opening: UInt8, _ closing: UInt8, level: Int? = nil) -> Int {
        if let level, level < self.open.count {
            self.close(to: level + 1)
            return level + 1
        }
        self.bytes.append(opening)
        self.open.append((closing, true))
        return self.open.count
    }

    /// Before an element of the container at `depth`.
    func separate(_ depth: Int) {
        self.close(to: depth)
        if self.open[depth - 1].isEmpty { self.open[depth - 1].isEmpty = false } else { self.bytes.append(0x2C) }
    }

    func key(_ key: some CodingKey, _ depth: Int) {
        self.separate(depth)
        self.string(key.stringValue)
        self.bytes.append(0x3A)
    }

    func null() { self.bytes.append(contentsOf: "null".utf8) }
    func bool(_ value: Bool) { self.bytes.append(contentsOf: value ? "true".utf8 : "false".utf8) }

    func integer(_ value: some FixedWidthInteger) { self.bytes.append(contentsOf: String(value).utf8) }

    func number(_ value: some BinaryFloatingPoint & LosslessStringConvertible) throws {
        guard value.isFinite else {
            throw EncodingError.invalidValue(value, .init(codingPath: [], debugDescription: "JSON has no \(value)"))
        }
        let text = String(value)
        self.bytes.append(contentsOf: text.hasSuffix(".0") ? Substring(text).dropLast(2).utf8 : text[...].utf8)
    }

    func string(_ text: String) {
        self.bytes.append(0x22)
        var text = text
        text.withUTF8 { utf8 in
            var plain = utf8.startIndex
            for (index, byte) in utf8.enumerated() where byte < 0x20 || byte == 0x22 || byte == 0x5C {
                self.bytes.append(contentsOf: utf8[plain..<index])
                self.escape(byte)
                plain = index + 1
            }
            self.bytes.append(contentsOf: utf8[plain...])
        }
        self.bytes.append(0x22)
    }

    private func escape(_ byte: UInt8) {
        switch byte {
        case 0x22: self.bytes.append(contentsOf: #"\""#.utf8)
        case 0x5C: self.bytes.append(contentsOf: #"\\"#.utf8)
        case 0x08: self.bytes.append(contentsOf: #"\b"#.utf8)
        case 0x09: self.bytes.append(contentsOf: #"\t"#.utf8)
        case 0x0A: self.bytes.append(contentsOf: #"\n"#.utf8)
        case 0x0C: self.bytes.append(contentsOf: #"\f"#.utf8)
        case 0x0D: self.bytes.append(contentsOf: #"\r"#.utf8)
        default: self.bytes.append(contentsOf: ((byte < 0x10 ? #"\u000"# : #"\u00"#) + String(byte, radix: 16)).utf8)
        }
    }

    func write(_ value: some Encodable) throws {
        // Compared before it is cast, which takes long.
        if type(of: value) == Date.self, let date = value as? Date {
            return self.string(RFC3339.string(from: date))
        }
        let (depth, length) = (self.depth, self.bytes.count)
        try value.encode(to: StreamEncoder(stream: self))
        self.close(to: depth)
        // A value that encodes nothing is an object without fields, as for every encoder.
        if self.bytes.count == length { self.bytes.append(contentsOf: "{}".utf8) }
    }
}

private struct StreamEncoder: Encoder {
    let stream: JSONStream
    private let level: Int

    init(stream: JSONStream) {
        self.stream = stream
        self.level = stream.depth
    }

    var codingPath: [any CodingKey] { [] }
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        KeyedEncodingContainer(
            KeyedContainer(stream: self.stream, depth: self.stream.begin(0x7B, 0x7D, level: self.level))
        )
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        UnkeyedContainer(stream: self.stream, depth: self.stream.begin(0x5B, 0x5D, level: self.level))
    }

    func singleValueContainer() -> any SingleValueEncodingContainer { SingleContainer(stream: self.stream) }
}

private struct KeyedContainer<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let stream: JSONStream
    let depth: Int

    var codingPath: [any CodingKey] { [] }

    private func at(_ key: some CodingKey) -> JSONStream {
        self.stream.key(key, self.depth)
        return self.stream
    }

    func encodeNil(forKey key: Key) { self.at(key).null() }
    func encode(_ value: Bool, forKey key: Key) { self.at(key).bool(value) }
    func encode(_ value: String, forKey key: Key) { self.at(key).string(value) }
    func encode(_ value: Double, forKey key: Key) throws { try self.at(key).number(value) }
    func encode(_ value: Float, forKey key: Key) throws { try self.at(key).number(value) }
    func encode(_ value: Int, forKey key: Key) { self.at(key).integer(value) }
    func encode(_ value: Int8, forKey key: Key) { self.at(key).integer(value) }
    func encode(_ value: Int16, forKey key: Key) { self.at(key).integer(value) }
    func encode(_ value: Int32, forKey key: Key) { self.at(key).integer(value) }
    func encode(_ value: Int64, forKey key: Key) { self.at(key).integer(value) }
    func encode(_ value: UInt, forKey key: Key) { self.at(key).integer(value) }
    func encode(_ value: UInt8, forKey key: Key) { self.at(key).integer(value) }
    func encode(_ value: UInt16, forKey key: Key) { self.at(key).integer(value) }
    func encode(_ value: UInt32, forKey key: Key) { self.at(key).integer(value) }
    func encode(_ value: UInt64, forKey key: Key) { self.at(key).integer(value) }
    func encode(_ value: some Encodable, forKey key: Key) throws { try self.at(key).write(value) }

    func nestedContainer<Nested: CodingKey>(
        keyedBy _: Nested.Type,
        forKey key: Key
    ) -> KeyedEncodingContainer<Nested> {
        let stream = self.at(key)
        return KeyedEncodingContainer(KeyedContainer<Nested>(stream: stream, depth: stream.begin(0x7B, 0x7D)))
    }

    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
        let stream = self.at(key)
        return UnkeyedContainer(stream: stream, depth: stream.begin(0x5B, 0x5D))
    }

    /// A key, for classes that inherit from encodable ones.
    private enum SuperKey: String, CodingKey { case `super` }

    func superEncoder() -> any Encoder { StreamEncoder(stream: self.at(SuperKey.super)) }
    func superEncoder(forKey key: Key) -> any Encoder { StreamEncoder(stream: self.at(key)) }
}

private struct UnkeyedContainer: UnkeyedEncodingContainer {
    let stream: JSONStream
    let depth: Int
    private(set) var count = 0

    init(stream: JSONStream, depth: Int) {
        self.stream = stream
        self.depth = depth
    }

    var codingPath: [any CodingKey] { [] }

    private mutating func next() -> JSONStream {
        self.stream.separate(self.depth)
        self.count += 1
        return self.stream
    }

    mutating func encodeNil() { self.next().null() }
    mutating func encode(_ value: Bool) { self.next().bool(value) }
    mutating func encode(_ value: String) { self.next().string(value) }
    mutating func encode(_ value: Double) throws { try self.next().number(value) }
    mutating func encode(_ value: Float) throws { try self.next().number(value) }
    mutating func encode(_ value: Int) { self.next().integer(value) }
    mutating func encode(_ value: Int8) { self.next().integer(value) }
    mutating func encode(_ value: Int16) { self.next().integer(value) }
    mutating func encode(_ value: Int32) { self.next().integer(value) }
    mutating func encode(_ value: Int64) { self.next().integer(value) }
    mutating func encode(_ value: UInt) { self.next().integer(value) }
    mutating func encode(_ value: UInt8) { self.next().integer(value) }
    mutating func encode(_ value: UInt16) { self.next().integer(value) }
    mutating func encode(_ value: UInt32) { self.next().integer(value) }
    mutating func encode(_ value: UInt64) { self.next().integer(value) }
    mutating func encode(_ value: some Encodable) throws { try self.next().write(value) }

    mutating func nestedContainer<Nested: CodingKey>(keyedBy _: Nested.Type) -> KeyedEncodingContainer<Nested> {
        let stream = self.next()
        return KeyedEncodingContainer(KeyedContainer<Nested>(stream: stream, depth: stream.begin(0x7B, 0x7D)))
    }

    mutating func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer {
        let stream = self.next()
        return UnkeyedContainer(stream: stream, depth: stream.begin(0x5B, 0x5D))
    }

    mutating func superEncoder() -> any Encoder { StreamEncoder(stream: self.next()) }
}

private struct SingleContainer: SingleValueEncodingContainer {
    let stream: JSONStream

    var codingPath: [any CodingKey] { [] }

    func encodeNil() { self.stream.null() }
    func encode(_ value: Bool) { self.stream.bool(value) }
    func encode(_ value: String) { self.stream.string(value) }
    func encode(_ value: Double) throws { try self.stream.number(value) }
    func encode(_ value: Float) throws { try self.stream.number(value) }
    func encode(_ value: Int) { self.stream.integer(value) }
    func encode(_ value: Int8) { self.stream.integer(value) }
    func encode(_ value: Int16) { self.stream.integer(value) }
    func encode(_ value: Int32) { self.stream.integer(value) }
    func encode(_ value: Int64) { self.stream.integer(value) }
    func encode(_ value: UInt) { self.stream.integer(value) }
    func encode(_ value: UInt8) { self.stream.integer(value) }
    func encode(_ value: UInt16) { self.stream.integer(value) }
    func encode(_ value: UInt32) { self.stream.integer(value) }
    func encode(_ value: UInt64) { self.stream.integer(value) }
    func encode(_ value: some Encodable) throws { try self.stream.write(value) }
}
