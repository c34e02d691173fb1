/// What a diagnosis is asked: one device, one credential.
package struct DiagnosisRequest: Sendable {
    package var deviceID: Int
    package var address: IPAddress
    /// The name that the device is known by, for certificate checks.
    package var hostname: String?
    package var credential: DecryptedCredential

    package init(deviceID: Int, address: IPAddress, hostname: String?, credential: DecryptedCredential) {
        self.deviceID = deviceID
        self.address = address
        self.hostname = hostname
        self.credential = credential
    }
}

/// Something that was seen on the way, such as `certificate_subject`; never a secret.
package struct DiagnosisFact: Sendable, Equatable {
    /// In snake_case; each name occurs once in a stage.
    package var name: String
    package var value: String

    package init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }
}

/// One step of a diagnosis.
package struct DiagnosisStage: Sendable, Equatable {
    package enum Kind: String, Codable, Sendable, CaseIterable {
        case tcp
        /// WinRM over HTTPS only.
        case tls
        /// What the host says of itself without a login.
        case identify
        case authenticate
        /// DCOM only: the dynamic port of the process that WMI runs in.
        case exporter
        case namespace
        case `class`
    }

    package enum Result: String, Codable, Sendable, CaseIterable {
        case passed
        case failed
        /// Polls work all the same.
        case warning
        /// Not come to, as an earlier one failed or time ran out.
        case skipped
    }

    package struct Cause: Sendable, Equatable {
        package var code: PollErrorCode
        package var message: String

        package init(code: PollErrorCode, message: String) {
            self.code = code
            self.message = message
        }
    }

    package var kind: Kind
    /// A port, a namespace or a class; nil where there is none or it is not known yet.
    package var target: String?
    package var result: Result
    /// 0 for a skipped one.
    package var durationMs: Int
    /// In the order in which it was seen.
    package var facts: [DiagnosisFact]
    package var cause: Cause?
    /// What an administrator of the host, or of NMSlite, can do.
    package var remedy: String?

    package init(
        _ kind: Kind,
        target: String? = nil,
        result: Result = .skipped,
        durationMs: Int = 0,
        facts: [DiagnosisFact] = [],
        cause: Cause? = nil,
        remedy: String? = nil
    ) {
        self.kind = kind
        self.target = target
        self.result = result
        self.durationMs = durationMs
        self.facts = facts
        self.cause = cause
        self.remedy = remedy
    }
}

/// What came out of a diagnosis.
package struct DiagnosisReport: Sendable, Equatable {
    /// Where the host was reached, such as `WinRM HTTPS port 5986`.
    package var endpoint: String
    package var durationMs: Int
    package var stages: [DiagnosisStage]

    package init(endpoint: String, durationMs: Int, stages: [DiagnosisStage]) {
        self.endpoint = endpoint
        self.durationMs = durationMs
        self.stages = stages
    }

    /// Whether a poll with this credential would bring everything.
    package var isOK: Bool { self.stages.allSatisfy { $0.result == .passed || $0.result == .warning } }
}

/// Walks the way of a poll step by step and says where it ends, and why.
package protocol DeviceDiagnosing: Sendable {
    /// Leaves nothing at the host and touches no connection of a poll; at most one login fails there.
    ///
    /// What is wrong with host or credential is in the report, a suspended credential as well.
    /// - Throws: `CancellationError`, or what kept the lockout guard from deciding.
    func diagnose(_ request: DiagnosisRequest) async throws -> DiagnosisReport

    /// A credential was changed, resumed or deleted: what was learnt of it no longer holds.
    func credentialChanged(id: Int)
}

extension DeviceDiagnosing {
    package func credentialChanged(id: Int) {}
}
