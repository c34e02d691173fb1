/// A poll could not be done because this machine lacks descriptors, ports or memory; nothing is known about the host.
///
/// It is no ``PollFailure``: the device's status and its count of failures stay as they are.
package struct LocalShortage: Error, Sendable, Equatable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}
