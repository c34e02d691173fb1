package import NMSCore

/// Where an instance's master keys come from: its configuration, or with the embedded database two files.
///
/// The next key exists while the master key is rotated. Its file is written before any row needs it, and takes the place of
/// the other by one `rename` after no row needs that one: at every moment the files hold every key that a row needs.
package struct MasterKeySource: Sendable {
    /// What there is now.
    package struct Keys: Sendable, Equatable {
        package var current: SecretBytes
        /// Of the file and of the configuration, which may be the same one.
        package var next: [SecretBytes]

        /// The current one first.
        package var all: [SecretBytes] { [self.current] + self.next }
    }

    private let configured: SecretBytes?
    private let configuredNext: SecretBytes?
    private let directory: DataDirectory
    /// Whether a rotation keeps the next key in a file and replaces the current one's.
    package let usesFiles: Bool

    package init(_ configuration: Configuration, directory: DataDirectory) {
        let encryption = configuration.encryption
        self.configured = encryption.masterKey.flatMap(Self.key)
        self.configuredNext = encryption.masterKeyNext.flatMap(Self.key)
        self.directory = directory
        self.usesFiles = configuration.database.isEmbedded && encryption.masterKey == nil
    }

    /// - Throws: when the current key was neither configured nor written, and when a file can't be used.
    package func load() throws(StartError) -> Keys {
        // The next one first: a rotation that ends in between renames its file to the other, which is read after.
        let next = try self.storedNext()
        var current = self.configured
        if current == nil { current = try self.stored(self.directory.masterKeyFile) }
        guard let current else {
            throw StartError(
                path: self.directory.masterKeyFile,
                problem: "there is no master key yet",
                remedy: "Start the server once, which makes one, or name its data directory with --data_dir."
            )
        }
        return Keys(current: current, next: [next, self.configuredNext].compactMap { $0 })
    }

    /// The key to rotate to: the configured one, what an earlier attempt left in the file, or a new one. With files, it is
    /// in its file when this returns.
    ///
    /// - Parameter generator: of keys; cryptographically secure.
    /// - Throws: when it must be configured and is not, or when file and configuration differ.
    package func prepareNext(generator: inout some RandomNumberGenerator) throws(StartError) -> SecretBytes {
        guard self.usesFiles else {
            guard let next = self.configuredNext else {
                throw StartError(
                    path: "encryption.master_key_next",
                    problem: "the next master key must be given, since the current one is configured as well",
                    remedy: "Give NMSLITE_MASTER_KEY_NEXT or --encryption.master_key_next_file FILE to every instance."
                )
            }
            return next
        }
        let path = self.directory.nextMasterKeyFile
        if let stored = try self.storedNext() {
            guard self.configuredNext == nil || self.configuredNext == stored else {
                throw StartError(
                    path: path,
                    problem: "it holds another next master key than encryption.master_key_next",
                    remedy: "Run `nmslite keys rotate` without that setting first, which ends the rotation to this key."
                )
            }
            return stored
        }
        let current = try self.stored(self.directory.masterKeyFile)
        // Given, and current already: there is nothing to keep.
        if let next = self.configuredNext, next == current { return next }
        let made = SecretBytes((0..<KeyText.keySize).map { _ in UInt8.random(in: .min ... .max, using: &generator) })
        let next = self.configuredNext ?? made
        try PrivateFile.write(KeyText.base64(next.exposed) + "\n", to: path)
        return next
    }

    /// As above, with the system's generator.
    package func prepareNext() throws(StartError) -> SecretBytes {
        var generator = SystemRandomNumberGenerator()
        return try self.prepareNext(generator: &generator)
    }

    /// With files, makes the key that of the file `master_key`, once no row needs the one that is there.
    ///
    /// - Returns: the file, if it was changed.
    package func promote(_ key: SecretBytes) throws(StartError) -> String? {
        let (path, nextPath) = (self.directory.masterKeyFile, self.directory.nextMasterKeyFile)
        guard self.usesFiles, try self.stored(path) != key else { return nil }
        if try self.storedNext() == key {
            try PrivateFile.rename(nextPath, to: path)
        } else {
            try PrivateFile.write(KeyText.base64(key.exposed) + "\n", to: path)
        }
        return path
    }

    private func storedNext() throws(StartError) -> SecretBytes? {
        self.usesFiles ? try self.stored(self.directory.nextMasterKeyFile) : nil
    }

    /// nil when there is no such file.
    private func stored(_ path: String) throws(StartError) -> SecretBytes? {
        guard let text = try PrivateFile.read(path) else { return nil }
        guard let bytes = KeyText.bytes(of: TextFile.withoutFinalNewline(text)) else {
            throw StartError(
                path: path,
                problem: "it does not hold a key of 32 bytes",
                remedy: "Restore it from a backup: what was encrypted or signed with it needs the same one."
            )
        }
        return SecretBytes(bytes)
    }

    private static func key(_ secret: Secret) -> SecretBytes? {
        KeyText.bytes(of: secret.exposed).map(SecretBytes.init)
    }
}
