package import NMSCore

/// Bytes that never show themselves.
package struct SecretBytes: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// The bytes themselves; read only at the point of use.
    package let exposed: [UInt8]

    package init(_ bytes: [UInt8]) { self.exposed = bytes }

    package var description: String { "***" }
    package var debugDescription: String { "***" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// The secrets of an instance: configured, or with the embedded database generated once (design §2).
package struct Secrets: Sendable {
    /// At least 32 bytes; signs access tokens with its UTF-8 bytes.
    package let jwtSecret: Secret
    /// 32 bytes each; they encrypt stored credentials.
    package let masterKeys: MasterKeySource.Keys
    /// Files that were made now; for a log line.
    package let generatedFiles: [String]

    /// Takes each secret from the configuration, else from its file, else makes the file.
    ///
    /// - Parameters:
    ///   - directory: prepared, and locked by the caller.
    ///   - generator: of keys; cryptographically secure.
    /// - Throws: when a file is there but cannot be used, or when one would have to be made for an external database.
    package static func load(
        _ configuration: Configuration,
        directory: DataDirectory,
        generator: inout some RandomNumberGenerator
    ) throws(StartError) -> Secrets {
        var generated: [String] = []
        let isEmbedded = configuration.database.isEmbedded
        let jwtSecret: Secret
        if let configured = configuration.auth.jwtSecret {
            jwtSecret = configured
        } else {
            let path = directory.jwtSecretFile
            let text = try Self.stored(path, mayGenerate: isEmbedded, &generated, &generator)
            guard text.utf8.count >= Self.shortestJWTSecret else {
                throw Self.damaged(path, "it holds less than \(Self.shortestJWTSecret) bytes")
            }
            jwtSecret = Secret(text)
        }
        if configuration.encryption.masterKey == nil {
            _ = try Self.stored(directory.masterKeyFile, mayGenerate: isEmbedded, &generated, &generator)
        }
        let keys = try MasterKeySource(configuration, directory: directory).load()
        return Secrets(jwtSecret: jwtSecret, masterKeys: keys, generatedFiles: generated)
    }

    /// As above, with the system's generator.
    package static func load(_ configuration: Configuration, directory: DataDirectory) throws(StartError) -> Secrets {
        var generator = SystemRandomNumberGenerator()
        return try self.load(configuration, directory: directory, generator: &generator)
    }

    /// RFC 7518 §3.2.
    private static let shortestJWTSecret = 32

    private static func stored(
        _ path: String,
        mayGenerate: Bool,
        _ generated: inout [String],
        _ generator: inout some RandomNumberGenerator
    ) throws(StartError) -> String {
        guard mayGenerate else {
            throw StartError(
                path: path,
                problem: "with an external database its content must be configured",
                remedy: "Set auth.jwt_secret and encryption.master_key."
            )
        }
        if let text = try PrivateFile.read(path) { return TextFile.withoutFinalNewline(text) }
        let bytes = (0..<KeyText.keySize).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        let text = KeyText.base64(bytes)
        try PrivateFile.write(text + "\n", to: path)
        generated.append(path)
        return text
    }

    private static func damaged(_ path: String, _ problem: String) -> StartError {
        StartError(
            path: path,
            problem: problem,
            remedy: "Restore it from a backup: what was encrypted or signed with it needs the same one."
        )
    }
}

/// The password with which `admin` is made at the first start.
package struct FirstAdminPassword: Sendable {
    package let password: Secret
    /// Where it can be read; nil when `NMSLITE_ADMIN_PASSWORD` gave it. Only this is ever printed.
    package let file: String?

    /// Takes the configured password, else the file's (a first start that was interrupted), else makes the file.
    ///
    /// To be called only when there is no user yet.
    package static func prepare(
        _ configuration: Configuration,
        directory: DataDirectory,
        generator: inout some RandomNumberGenerator
    ) throws(StartError) -> FirstAdminPassword {
        if let password = configuration.adminPassword { return FirstAdminPassword(password: password, file: nil) }
        let path = directory.initialAdminPasswordFile
        if let text = try PrivateFile.read(path).map(TextFile.withoutFinalNewline), !text.isEmpty {
            return FirstAdminPassword(password: Secret(text), file: path)
        }
        let text = self.readable(&generator)
        try PrivateFile.write(text + "\n", to: path)
        return FirstAdminPassword(password: Secret(text), file: path)
    }

    /// As above, with the system's generator.
    package static func prepare(
        _ configuration: Configuration,
        directory: DataDirectory
    ) throws(StartError) -> FirstAdminPassword {
        var generator = SystemRandomNumberGenerator()
        return try self.prepare(configuration, directory: directory, generator: &generator)
    }

    /// Without characters that look alike: i l o 0 1.
    private static let alphabet = Array("abcdefghjkmnpqrstuvwxyz23456789")
    private static let groups = 5
    private static let groupLength = 5

    /// Five groups of five: 29 characters, 123 bits.
    static func readable(_ generator: inout some RandomNumberGenerator) -> String {
        var groups: [String] = []
        for _ in 0..<self.groups {
            groups.append(
                String(
                    (0..<self.groupLength).map { _ in
                        self.alphabet[Int.random(in: self.alphabet.indices, using: &generator)]
                    }
                )
            )
        }
        return groups.joined(separator: "-")
    }
}
