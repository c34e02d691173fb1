internal import Crypto
internal import Foundation
package import Logging
internal import Synchronization

/// A master key: 32 bytes and the id that is stored beside what it encrypted. Descriptions never show the bytes.
package struct MasterKey: Sendable, Equatable, CustomStringConvertible, CustomReflectable {
    /// How many bytes AES-256 takes.
    package static let length = 32

    /// The first 8 bytes of SHA-256 of the key, in hexadecimal.
    package let id: String
    let bytes: [UInt8]

    /// - Parameter bytes: exactly 32 bytes; nil otherwise.
    package init?(bytes: [UInt8]) {
        guard bytes.count == Self.length else { return nil }
        self.bytes = bytes
        self.id = SHA256.hash(data: bytes).prefix(8).map { byte in
            let digits = String(byte, radix: 16)
            return byte < 16 ? "0" + digits : digits
        }.joined()
    }

    var symmetricKey: SymmetricKey { SymmetricKey(data: self.bytes) }

    package var description: String { "master key \(self.id)" }
    package var customMirror: Mirror { Mirror(self, children: ["id": self.id]) }

    /// By the id alone, which no two keys share: comparing the bytes would take a time that tells of them.
    package static func == (lhs: MasterKey, rhs: MasterKey) -> Bool { lhs.id == rhs.id }
}

/// The master keys that this instance knows: one, and while it is rotated two.
///
/// An id that is not known yet is looked for where keys may have been added meanwhile: a running server learns of the
/// next key from the first row that is sealed with it. No key is ever forgotten, for a row that was read before it was
/// sealed anew is opened after.
package final class MasterKeyRing: Sendable {
    private struct State {
        var keys: [String: MasterKey]
        var missed: Set<String> = []
    }

    private let state: Mutex<State>
    private let reload: (@Sendable () -> [MasterKey])?
    private let logger: Logger?

    /// - Parameters:
    ///   - reload: reads the keys anew; it must be quick. nil where no key can have been added.
    ///   - logger: hears of ids that remain unknown, once of each.
    package init(
        _ keys: [MasterKey],
        logger: Logger? = nil,
        reload: (@Sendable () -> [MasterKey])? = nil
    ) {
        self.state = Mutex(State(keys: Dictionary(keys.map { ($0.id, $0) }) { first, _ in first }))
        self.reload = reload
        self.logger = logger
    }

    /// As this one, with another key.
    func adding(_ key: MasterKey) -> MasterKeyRing {
        let keys = self.state.withLock { Array($0.keys.values) }
        return MasterKeyRing(keys + [key], logger: self.logger, reload: self.reload)
    }

    func key(_ id: String) -> MasterKey? {
        if let key = self.state.withLock({ $0.keys[id] }) { return key }
        let found = self.reload?() ?? []
        let (key, isNewlyMissed) = self.state.withLock { state in
            for key in found { state.keys[key.id] = key }
            return (state.keys[id], state.keys[id] == nil && state.missed.insert(id).inserted)
        }
        if let key {
            self.logger?.info("found a master key that was added", metadata: ["key_id": "\(key.id)"])
        } else if isNewlyMissed {
            self.logger?.error(
                "a stored password needs a master key that this instance was not given: see encryption.master_key_next",
                metadata: ["key_id": "\(id)"]
            )
        }
        return key
    }
}
