/// A string that never shows itself: descriptions, dumps and interpolation print `***`.
///
/// Read ``exposed`` only at the point of use, and never put it into an error or a log line.
package struct Secret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The secret itself.
    package let exposed: String

    package init(_ value: String) { self.exposed = value }

    package var description: String { "***" }
    package var debugDescription: String { "***" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
