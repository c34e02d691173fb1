import Foundation
import NMSStorage
import Synchronization

/// What `nmslite keys rotate` prints: lines as it goes on, or one JSON object at its end.
final class RotationReport: Sendable {
    private struct Summary: Encodable {
        var ended: [String]
        var key: String
        var sealed: Int
        var keyFile: String?
    }

    private static let tenths = 10

    private let json: Bool
    private let shownTenth = Mutex(0)

    init(json: Bool) { self.json = json }

    func begins(from old: [String], to key: String) {
        guard !self.json, !old.isEmpty else { return }
        print("rotating from master key \(old.joined(separator: ", ")) to \(key)")
    }

    /// A line for every tenth.
    func show(_ progress: MasterKeyRotation.Progress) {
        guard !self.json, progress.total > 0 else { return }
        let tenth = progress.sealed * Self.tenths / progress.total
        let isNew = self.shownTenth.withLock { shown in
            defer { shown = max(shown, tenth) }
            return tenth > shown
        }
        guard isNew else { return }
        print("\(progress.sealed) of \(progress.total) passwords sealed with the next key")
        // Whoever reads a pipe wants to see it as well.
        fflush(nil)
    }

    /// - Parameters:
    ///   - file: that holds another key now.
    ///   - mustConfigure: whether the operator has yet to name the key as the instance's.
    func ends(_ outcome: MasterKeyRotation.Outcome, file: String?, mustConfigure: Bool) {
        guard !self.json else {
            let summary = Summary(ended: outcome.ended, key: outcome.key, sealed: outcome.sealed, keyFile: file)
            return KeysReport.printJSON(summary)
        }
        if outcome.ended.isEmpty, file == nil {
            print("nothing to do: the master key is \(outcome.key), and no other is left")
        } else {
            print("the master key is \(outcome.key); no stored password needs another")
            if let file { print("\(file) holds it; keep a copy apart, and the key before as long as backups need it") }
        }
        if mustConfigure {
            print("now make it encryption.master_key of every instance and drop encryption.master_key_next")
        }
    }
}

/// What `nmslite keys status` prints.
struct KeysReport: Encodable {
    private struct Key: Encodable {
        var id: String
        var current: Bool
        var known: Bool
        var credentials: Int
    }

    private let keys: [Key]
    private let credentials: Int
    private let unopened: [Int]

    init(_ status: MasterKeyStatus) {
        self.keys = status.keys.map {
            Key(id: $0.id, current: $0.isCurrent, known: $0.isKnown, credentials: $0.credentials)
        }
        (self.credentials, self.unopened) = (status.credentials, status.unopened)
    }

    /// What keeps this instance from opening everything; nil when nothing does.
    var problem: String? {
        let missing = self.keys.filter { !$0.known }.map(\.id)
        if !missing.isEmpty { return "this instance lacks master key \(missing.joined(separator: ", "))" }
        guard !self.unopened.isEmpty else { return nil }
        let ids = self.unopened.map(String.init).joined(separator: ", ")
        return "no key opens the passwords of credentials \(ids): set them again, or delete the credentials"
    }

    func print(json: Bool) {
        if json { return Self.printJSON(self) }
        for key in self.keys {
            let state = key.current ? "current" : "ends with the rotation that is not finished"
            Swift.print("\(key.id) \(state): \(key.credentials) credentials\(key.known ? "" : ", not known here")")
        }
        Swift.print("\(self.credentials - self.unopened.count) of \(self.credentials) stored passwords open")
    }

    fileprivate static func printJSON(_ value: some Encodable) {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else { return }
        Swift.print(String(decoding: data, as: UTF8.self))
    }
}
