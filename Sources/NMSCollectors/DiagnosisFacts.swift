internal import NMSCore

extension CertificateFacts {
    /// As a stage shows them.
    var facts: [DiagnosisFact] {
        [
            DiagnosisFact("certificate_subject", self.subject),
            DiagnosisFact("certificate_issuer", self.issuer),
            DiagnosisFact("certificate_names", self.names.joined(separator: ", ")),
            DiagnosisFact("certificate_not_before", RFC3339.string(from: self.notBefore)),
            DiagnosisFact("certificate_not_after", RFC3339.string(from: self.notAfter)),
            DiagnosisFact("certificate_self_signed", String(self.isSelfSigned)),
            DiagnosisFact("certificate_sha256", self.fingerprint),
        ]
    }
}

extension HostIdentity {
    /// As the stage of the class shows them.
    var facts: [DiagnosisFact] {
        [("os", self.os), ("os_build", self.build)].compactMap { name, value in
            value.map { DiagnosisFact(name, $0) }
        }
    }
}
