internal import NMSCore
internal import NMSStorage

/// Keeps operators from making NMSlite hand out a stored password that they don't know (specification §4.3).
///
/// A credential that goes to more hosts, or goes there less protected, can be caught by whoever has such a host or the
/// way to it. So each step in that direction takes an admin, or someone who gives the password in the same request: then
/// the one that is sent is his own.
enum CredentialExposure {
    /// - Throws: ``ServiceError`` forbidden, naming the first of ``weakened(by:of:)`` and listing all.
    static func check(
        _ changes: CredentialChanges,
        of current: Credential,
        by principal: Principal
    ) throws(ServiceError) {
        guard changes.password == nil, !principal.role.covers(.admin) else { return }
        let errors = Self.weakened(by: changes, of: current).map { field in
            FieldError(field: field, message: "\(field) protects the stored password")
        }
        guard let first = errors.first else { return }
        throw ServiceError(
            .forbidden,
            "Only an admin may weaken \(errors.map(\.field).joined(separator: ", ")) without giving the password anew",
            details: ErrorDetails(field: first.field, errors: errors)
        )
    }

    /// The fields whose change leaves the password less protected, as clients name them.
    static func weakened(by changes: CredentialChanges, of current: Credential) -> [String] {
        var fields: [String] = []
        // Basic shows the password to the host; NTLM only proves that it is known.
        if changes.type == .winrmBasic, current.type != .winrmBasic { fields.append("credential_type") }
        if changes.useSSL == false, current.useSSL { fields.append("use_ssl") }
        if let wanted = changes.tlsVerify, Self.strictness(wanted) < Self.strictness(current.tlsVerify) {
            fields.append("tls_verify")
        }
        if changes.allowUnencryptedBasic == true, !current.allowUnencryptedBasic {
            fields.append("allow_unencrypted_basic")
        }
        if let wanted = changes.allowedTargets, Self.widens(current.allowedTargets, to: wanted) {
            fields.append("allowed_targets")
        }
        return fields
    }

    private static func strictness(_ verification: TLSVerification) -> Int {
        switch verification {
        case .none: 0
        case .chain: 1
        case .full: 2
        }
    }

    /// Empty means everywhere.
    private static func widens(_ current: [CIDRBlock], to wanted: [CIDRBlock]) -> Bool {
        guard !current.isEmpty else { return false }
        return wanted.isEmpty
            || !wanted.allSatisfy { block in
                current.contains { $0.contains(block.network) && $0.prefixLength <= block.prefixLength }
            }
    }
}
