@testable import DCOM

/// A property's value as a Python script printed it.
enum PrintedValue: Decodable, Equatable {
    case null
    case boolean(Bool)
    case text(String)
    case unsigned(UInt64)
    case signed(Int64)
    case real(Double)
    case array([PrintedValue])

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .boolean(value)
        } else if let value = try? container.decode(String.self) {
            self = .text(value)
        } else if let value = try? container.decode(UInt64.self) {
            self = .unsigned(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .signed(value)
        } else if let value = try? container.decode(Double.self) {
            self = .real(value)
        } else {
            self = .array(try container.decode([PrintedValue].self))
        }
    }

    /// - Parameter nullsAreZeros: aiowmi prints NULL as 0 or an empty text.
    func isSame(as value: CIMValue?, nullsAreZeros: Bool = false) -> Bool {
        guard let value else {
            return self == .null || (nullsAreZeros && [.unsigned(0), .text("")].contains(self))
        }
        switch value {
        case .boolean(let found): return self == .boolean(found)
        case .string(let found), .datetime(let found), .reference(let found): return self == .text(found)
        case .char16(let unit): return self == .text(String(decoding: [unit], as: UTF16.self))
        case .real32(let found): return self == .real(Double(found))
        case .real64(let found): return self == .real(found)
        case .array(let elements):
            guard case .array(let expected) = self, expected.count == elements.count else { return false }
            return zip(expected, elements).allSatisfy { $0.isSame(as: $1) }
        case .object: return false
        case .sint8(let found): return self.isNumber(Int64(found))
        case .sint16(let found): return self.isNumber(Int64(found))
        case .sint32(let found): return self.isNumber(Int64(found))
        case .sint64(let found): return self.isNumber(found)
        case .uint8, .uint16, .uint32, .uint64: return value.uint64.map { self == .unsigned($0) } ?? false
        }
    }

    private func isNumber(_ found: Int64) -> Bool {
        UInt64(exactly: found).map { self == .unsigned($0) } ?? (self == .signed(found))
    }
}
