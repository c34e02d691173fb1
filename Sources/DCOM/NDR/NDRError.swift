/// Why bytes are not what the Network Data Representation says they must be (C706, chapter 14).
package enum NDRError: Error, Sendable, Hashable {
    /// A field reaches past the end of the stub.
    case truncated(offset: Int, needed: Int, remaining: Int)
    /// An array announces more elements than the rest of the stub can hold.
    case countTooLarge(offset: Int, count: UInt32, elementSize: Int, remaining: Int)
    /// A value that the format forbids; the text names it.
    case invalid(offset: Int, String)
}

extension NDRError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .truncated(let offset, let needed, let remaining):
            "NDR data ends too early: \(needed) bytes wanted at offset \(offset), \(remaining) left"
        case .countTooLarge(let offset, let count, let elementSize, let remaining):
            "NDR array of \(count) elements (\(elementSize) bytes or more each) at offset \(offset), \(remaining) bytes left"
        case .invalid(let offset, let what):
            "invalid NDR data at offset \(offset): \(what)"
        }
    }
}
