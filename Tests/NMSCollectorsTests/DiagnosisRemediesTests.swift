import Foundation
import NMSCore
import Testing

@testable import NMSCollectors

struct DiagnosisRemediesTests {
    private static let reasons: [DiagnosisReason?] = [
        nil, .certificateExpired, .certificateNotYetValid, .certificateUntrusted,
        .certificateNames(expected: ["srv01", "192.0.2.1"], presented: ["other.example"]), .certificateUnreadable,
        .authorityFile("/etc/nmslite/ca.pem"), .handshake, .schemes(offered: ["Kerberos"]), .passwordWithheld,
        .httpStatus(404), .dcomDisabled,
    ]

    private static func context(
        _ type: CredentialType,
        stage: DiagnosisStage.Kind? = nil,
        useSSL: Bool = false,
        port: Int? = nil,
        reason: DiagnosisReason? = nil
    ) -> RemedyContext {
        var credential = Credential(
            id: 7,
            name: "c",
            type: type,
            username: "monitor",
            domain: "CORP",
            port: port,
            createdAt: Date(timeIntervalSince1970: 0),
            updatedAt: Date(timeIntervalSince1970: 0)
        )
        credential.useSSL = useSSL
        var context = RemedyContext(credential, stage: stage)
        context.reason = reason
        return context
    }

    /// Whatever fails wherever: there is something to do about it, in a few sentences without a gap.
    @Test(arguments: PollErrorCode.allCases)
    func everyCodeHasARemedyEverywhere(code: PollErrorCode) {
        for type in CredentialType.allCases {
            for stage in [nil] + DiagnosisStage.Kind.allCases.map(Optional.some) {
                for useSSL in [false, true] {
                    for reason in Self.reasons {
                        let context = Self.context(type, stage: stage, useSSL: useSSL, reason: reason)
                        let text = Remedies.text(code, context)
                        #expect(
                            text.count > 40 && text.count < 800,
                            "\(code) \(type) \(String(describing: stage)): \(text)"
                        )
                        #expect(text.hasSuffix(".") && !text.contains("  ") && !text.contains(" ."), "\(text)")
                        #expect(text.count(where: { $0 == "`" }).isMultiple(of: 2), "\(text)")
                    }
                }
            }
        }
    }

    @Test(arguments: [
        (PollErrorCode.timeout, DiagnosisStage.Kind.tcp, CredentialType.winrmNTLM, false, "winrm quickconfig"),
        (.timeout, .tcp, .winrmNTLM, true, "localport=5986"),
        (.timeout, .tcp, .wmi, false, "Windows Management Instrumentation (DCOM-In)"),
        (.timeout, .exporter, .wmi, false, "49152-65535"),
        (.timeout, .class, .wmi, false, "polling.timeout"),
        (.connectionRefused, .tcp, .winrmNTLM, false, "winrm quickconfig"),
        (.connectionRefused, .tcp, .winrmNTLM, true, "winrm quickconfig -transport:https"),
        (.connectionRefused, .exporter, .wmi, false, "winmgmt /standalonehost"),
        (.authFailed, .authenticate, .winrmNTLM, false, "CORP\\monitor"),
        (.authFailed, .authenticate, .winrmBasic, true, "winrm_ntlm"),
        (.credentialSuspended, .authenticate, .wmi, false, "POST /api/v1/credentials/7/resume"),
        (.accessDenied, .authenticate, .wmi, false, "Distributed COM Users"),
        (.accessDenied, .exporter, .wmi, false, "Access Permissions"),
        (.accessDenied, .namespace, .wmi, false, "Remote Enable"),
        (.accessDenied, .namespace, .winrmNTLM, false, "Remote Management Users"),
        (.accessDenied, .class, .wmi, false, "Performance Monitor Users"),
        (.quotaExceeded, .class, .winrmNTLM, false, "MaxConcurrentOperationsPerUser"),
        (.countersMissing, .class, .wmi, false, "lodctr /R"),
        (.wmiError, .class, .wmi, false, "winmgmt /verifyrepository"),
    ])
    func theRemedyFitsTheStage(
        code: PollErrorCode,
        stage: DiagnosisStage.Kind,
        type: CredentialType,
        useSSL: Bool,
        says: String
    ) {
        let text = Remedies.text(code, Self.context(type, stage: stage, useSSL: useSSL))
        #expect(text.contains(says), "\(text)")
    }

    @Test(arguments: [
        (PollErrorCode.tlsFailed, CredentialType.winrmNTLM, DiagnosisReason.certificateExpired, "Renew"),
        (.tlsFailed, .winrmNTLM, .certificateNotYetValid, "w32tm"),
        (.tlsFailed, .winrmNTLM, .certificateUntrusted, "winrm.ca_file"),
        (
            .tlsFailed, .winrmNTLM, .certificateNames(expected: ["srv01"], presented: ["other.example"]),
            "for other.example, the device is known as srv01. Set the device's hostname to other.example"
        ),
        (
            .tlsFailed, .winrmNTLM, .certificateNames(expected: ["192.0.2.1"], presented: ["*.example"]),
            "known as 192.0.2.1. Issue a certificate"
        ),
        (.tlsFailed, .winrmNTLM, .authorityFile("/ca.pem"), "/ca.pem"),
        (.protocolError, .winrmNTLM, .schemes(offered: ["Basic"]), "@{Negotiate=\"true\"}"),
        (.protocolError, .winrmBasic, .schemes(offered: ["Negotiate"]), "@{Basic=\"true\"}"),
        (.protocolError, .winrmNTLM, .httpStatus(404), "HTTP status 404"),
        (.protocolError, .wmi, .dcomDisabled, "Enable Distributed COM"),
        (.encryptionRequired, .winrmBasic, .passwordWithheld, "allow_unencrypted_basic"),
    ])
    func theRemedyFitsTheReason(code: PollErrorCode, type: CredentialType, reason: DiagnosisReason, says: String) {
        let text = Remedies.text(code, Self.context(type, stage: .tls, useSSL: true, reason: reason))
        #expect(text.contains(says), "\(text)")
    }

    @Test func aSelfSignedCertificateIsTrustedByItself() {
        var context = Self.context(.winrmNTLM, stage: .tls, useSSL: true, reason: .certificateUntrusted)
        context.certificate = CertificateFacts(
            subject: "CN=srv01",
            issuer: "CN=srv01",
            names: ["srv01"],
            notBefore: Date(timeIntervalSince1970: 0),
            notAfter: Date(timeIntervalSince1970: 1),
            isSelfSigned: true,
            fingerprint: "00"
        )
        #expect(Remedies.text(.tlsFailed, context).contains("self-signed"))
        context.certificate?.isSelfSigned = false
        context.certificate?.issuer = "CN=Corp CA"
        #expect(Remedies.text(.tlsFailed, context).contains("(CN=Corp CA)"))
    }
}
