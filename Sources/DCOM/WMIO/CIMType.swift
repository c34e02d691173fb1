/// The type of a single value, [MS-WMIO] 2.2.82.
package enum CIMType: UInt32, Sendable, CaseIterable {
    case sint16 = 2
    case sint32 = 3
    case real32 = 4
    case real64 = 5
    case string = 8
    case boolean = 11
    case object = 13
    case sint8 = 16
    case uint8 = 17
    case uint16 = 18
    case uint32 = 19
    case sint64 = 20
    case uint64 = 21
    case datetime = 101
    case reference = 102
    case char16 = 103

    /// How many bytes a value takes in a ValueTable or an Encoded-Array; four for a reference into the heap.
    package var encodedLength: Int {
        switch self {
        case .sint8, .uint8: 1
        case .sint16, .uint16, .boolean, .char16: 2
        case .sint32, .uint32, .real32, .string, .datetime, .reference, .object: 4
        case .sint64, .uint64, .real64: 8
        }
    }

    /// Whether a value is written in place, not in the heap.
    package var isInline: Bool {
        switch self {
        case .string, .datetime, .reference, .object: false
        default: true
        }
    }
}
