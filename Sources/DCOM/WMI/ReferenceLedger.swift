/// Which references this client owns of a host's interfaces, and which of them it can give back.
///
/// Every reference that an answer brings is entered at once, so that no path, error or cancellation, forgets one.
struct ReferenceLedger: Sendable {
    /// Public references by interface that are in use.
    private(set) var held: [GUID: UInt32] = [:]
    /// Public references by interface that are to be given back.
    private(set) var retired: [GUID: UInt32] = [:]

    var isEmpty: Bool { self.held.isEmpty && self.retired.isEmpty }

    /// Enters what an answer has brought. The same interface may come again, with more references.
    mutating func hold(_ reference: StandardReference) {
        let count = self.held[reference.ipid, default: 0]
        self.held[reference.ipid] = count &+ min(reference.publicReferences, .max - count)
    }

    /// An interface is not needed any more.
    mutating func retire(_ ipid: GUID) {
        guard let count = self.held.removeValue(forKey: ipid), count > 0 else { return }
        let others = self.retired[ipid, default: 0]
        self.retired[ipid] = others &+ min(count, .max - others)
    }

    mutating func retireAll() {
        for ipid in Array(self.held.keys) { self.retire(ipid) }
    }

    /// Takes what one `RemRelease` can give back; it counts as given back unless ``giveUp(_:)`` says otherwise.
    mutating func takeRetired() -> [InterfaceReferenceCount] {
        let taken = self.retired.prefix(RemRelease.maximumReferences)
        for (ipid, _) in taken { self.retired[ipid] = nil }
        return taken.map { InterfaceReferenceCount(ipid: $0.key, publicReferences: $0.value) }
    }

    /// Enters again what could not be given back.
    mutating func giveUp(_ references: [InterfaceReferenceCount]) {
        for reference in references {
            let others = self.retired[reference.ipid, default: 0]
            self.retired[reference.ipid] = others &+ min(reference.publicReferences, .max - others)
        }
    }
}
