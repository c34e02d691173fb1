package import struct Foundation.Date
package import struct Foundation.UUID

/// The OID of a built-in type (`pg_type.dat`).
package struct PostgresTypeID: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    package let rawValue: UInt32

    package init(rawValue: UInt32) { self.rawValue = rawValue }

    static let bool = PostgresTypeID(rawValue: 16)
    static let bytea = PostgresTypeID(rawValue: 17)
    static let name = PostgresTypeID(rawValue: 19)
    static let int8 = PostgresTypeID(rawValue: 20)
    static let int2 = PostgresTypeID(rawValue: 21)
    static let int4 = PostgresTypeID(rawValue: 23)
    static let text = PostgresTypeID(rawValue: 25)
    static let oid = PostgresTypeID(rawValue: 26)
    static let json = PostgresTypeID(rawValue: 114)
    static let float4 = PostgresTypeID(rawValue: 700)
    static let float8 = PostgresTypeID(rawValue: 701)
    static let unknown = PostgresTypeID(rawValue: 705)
    static let bpchar = PostgresTypeID(rawValue: 1042)
    static let varchar = PostgresTypeID(rawValue: 1043)
    static let timestamptz = PostgresTypeID(rawValue: 1184)
    static let numeric = PostgresTypeID(rawValue: 1700)
    static let uuid = PostgresTypeID(rawValue: 2950)

    private static let names: [PostgresTypeID: String] = [
        .bool: "boolean", .bytea: "bytea", .name: "name", .int8: "bigint", .int2: "smallint", .int4: "integer",
        .text: "text", .oid: "oid", .json: "json", .float4: "real", .float8: "double precision",
        .unknown: "unknown", .bpchar: "character", .varchar: "character varying",
        .timestamptz: "timestamp with time zone", .numeric: "numeric", .uuid: "uuid",
    ]

    package var description: String { Self.names[self] ?? "type with OID \(self.rawValue)" }
}

/// One value in the server's binary form, read from the front.
package struct PostgresCell {
    let bytes: [UInt8]
    let type: PostgresTypeID
    private var position = 0

    init(bytes: [UInt8], type: PostgresTypeID) {
        self.bytes = bytes
        self.type = type
    }

    var remaining: Int { self.bytes.count - self.position }

    /// A big-endian integer; nil when too few bytes are left.
    mutating func integer<Value: FixedWidthInteger>(_: Value.Type = Value.self) -> Value? {
        let width = Value.bitWidth / 8
        guard self.remaining >= width else { return nil }
        var value: Value = 0
        for byte in self.bytes[self.position..<self.position + width] {
            value = value << 8 | Value(truncatingIfNeeded: byte)
        }
        self.position += width
        return value
    }

    mutating func take(_ count: Int) -> [UInt8]? {
        guard count >= 0, self.remaining >= count else { return nil }
        defer { self.position += count }
        return Array(self.bytes[self.position..<self.position + count])
    }
}

/// A type that a column can be read as.
package protocol PostgresDecodable: Sendable {
    /// nil when the column's type is another one or its bytes are malformed.
    init?(postgres cell: inout PostgresCell)
}

extension PostgresDecodable where Self: FixedWidthInteger {
    package init?(postgres cell: inout PostgresCell) {
        switch cell.type {
        case .int2:
            guard let value = cell.integer(Int16.self) else { return nil }
            self.init(exactly: value)
        case .int4:
            guard let value = cell.integer(Int32.self) else { return nil }
            self.init(exactly: value)
        case .int8:
            guard let value = cell.integer(Int64.self) else { return nil }
            self.init(exactly: value)
        case .oid:
            guard let value = cell.integer(UInt32.self) else { return nil }
            self.init(exactly: value)
        default: return nil
        }
    }
}

extension Int: PostgresDecodable {}
extension Int32: PostgresDecodable {}
extension Int64: PostgresDecodable {}

extension Double: PostgresDecodable {
    package init?(postgres cell: inout PostgresCell) {
        switch cell.type {
        case .float8:
            guard let pattern = cell.integer(UInt64.self) else { return nil }
            self.init(bitPattern: pattern)
        case .float4:
            guard let pattern = cell.integer(UInt32.self) else { return nil }
            self.init(Float(bitPattern: pattern))
        case .numeric:
            guard let text = Self.decimalText(&cell) else { return nil }
            self.init(text)
        default: return nil
        }
    }

    /// A numeric's digits as decimal text, so that the nearest Double comes of one rounding only.
    private static func decimalText(_ cell: inout PostgresCell) -> String? {
        guard let count = cell.integer(Int16.self), let weight = cell.integer(Int16.self),
            let sign = cell.integer(UInt16.self), cell.integer(Int16.self) != nil
        else { return nil }
        switch sign {
        case 0x0000, 0x4000: break
        case 0xC000: return "nan"
        case 0xD000: return "inf"
        case 0xF000: return "-inf"
        default: return nil
        }
        var digits = sign == 0x4000 ? "-" : ""
        for _ in 0..<count {
            // Base 10,000, most significant first.
            guard let digit = cell.integer(Int16.self), (0..<10_000).contains(digit) else { return nil }
            let text = String(digit)
            digits += String(repeating: "0", count: 4 - text.count) + text
        }
        if count == 0 { digits += "0" }
        return digits + "e\(4 * (Int(weight) + 1 - Int(max(count, 1))))"
    }
}

extension Bool: PostgresDecodable {
    package init?(postgres cell: inout PostgresCell) {
        guard cell.type == .bool, let byte = cell.integer(UInt8.self) else { return nil }
        self = byte != 0
    }
}

extension String: PostgresDecodable {
    package init?(postgres cell: inout PostgresCell) {
        switch cell.type {
        case .text, .varchar, .bpchar, .name, .json, .unknown:
            self.init(validating: cell.bytes, as: UTF8.self)
        case .uuid:
            guard let bytes = cell.take(16) else { return nil }
            let uuid = bytes.withUnsafeBytes { $0.loadUnaligned(as: UUID.self) }
            self = uuid.uuidString.lowercased()
        default: return nil
        }
    }
}

extension Date: PostgresDecodable {
    package init?(postgres cell: inout PostgresCell) {
        // Beyond the range are PostgreSQL's infinities, among others.
        guard cell.type == .timestamptz, let value = cell.integer(Int64.self), PostgresTime.range.contains(value)
        else { return nil }
        self = PostgresTime.date(microseconds: value)
    }
}

extension UInt8: PostgresDecodable {
    package init?(postgres cell: inout PostgresCell) { return nil }
}

/// `[UInt8]` reads `bytea`; any other array reads a one-dimensional SQL array without NULLs.
extension Array: PostgresDecodable where Element: PostgresDecodable {
    package init?(postgres cell: inout PostgresCell) {
        if Element.self == UInt8.self {
            guard cell.type == .bytea, let bytes = cell.bytes as? Self else { return nil }
            self = bytes
            return
        }
        guard let dimensions = cell.integer(Int32.self), cell.integer(Int32.self) == 0,
            let elementType = cell.integer(UInt32.self)
        else { return nil }
        self = []
        if dimensions == 0 { return }
        guard dimensions == 1, let count = cell.integer(Int32.self), cell.integer(Int32.self) != nil else { return nil }
        for _ in 0..<count {
            guard let length = cell.integer(Int32.self), let bytes = cell.take(Int(length)) else { return nil }
            var element = PostgresCell(bytes: bytes, type: PostgresTypeID(rawValue: elementType))
            guard let value = Element(postgres: &element) else { return nil }
            self.append(value)
        }
    }
}
