/// A value of a property that is not NULL.
package enum CIMValue: Sendable, Equatable {
    case sint8(Int8)
    case uint8(UInt8)
    case sint16(Int16)
    case uint16(UInt16)
    case sint32(Int32)
    case uint32(UInt32)
    case sint64(Int64)
    case uint64(UInt64)
    case real32(Float)
    case real64(Double)
    case boolean(Bool)
    case string(String)
    /// `yyyymmddHHMMSS.mmmmmmsUUU` or `ddddddddHHMMSS.mmmmmm:000` ([DSP0004] 5.2.4), as it was sent.
    case datetime(String)
    /// The path of another object.
    case reference(String)
    /// A UTF-16 code unit.
    case char16(UInt16)
    indirect case object(WMIObject)
    case array(CIMArray)

    /// The text of a string, a datetime or a reference.
    package var string: String? {
        switch self {
        case .string(let text), .datetime(let text), .reference(let text): text
        default: nil
        }
    }

    /// The value of any integer type that is not negative, or of a string of decimal digits.
    package var uint64: UInt64? {
        switch self {
        case .sint8(let value): UInt64(exactly: value)
        case .uint8(let value): UInt64(value)
        case .sint16(let value): UInt64(exactly: value)
        case .uint16(let value): UInt64(value)
        case .sint32(let value): UInt64(exactly: value)
        case .uint32(let value): UInt64(value)
        case .sint64(let value): UInt64(exactly: value)
        case .uint64(let value): value
        case .string(let text): UInt64(text)
        default: nil
        }
    }

    package var bool: Bool? {
        if case .boolean(let value) = self { value } else { nil }
    }

    package var object: WMIObject? {
        if case .object(let value) = self { value } else { nil }
    }

    package var array: CIMArray? {
        if case .array(let values) = self { values } else { nil }
    }
}
