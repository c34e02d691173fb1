internal import NMSCore

/// `/devices/{id}/test`.
struct DiagnosisController: Sendable {
    let diagnosis: DiagnosisService

    @Sendable func test(_ call: Call<NoQuery, TestDeviceRequest>) async throws -> DiagnosisBody {
        let (service, id, credential) = (self.diagnosis, try call.id(), call.body.credentialID)
        let audit = try call.audit()
        return DiagnosisBody(
            try await call.context.client.whilePresent {
                try await service.test(deviceID: id, credentialID: credential, audit: audit)
            }
        )
    }
}

/// The body of `POST /devices/{id}/test`.
struct TestDeviceRequest: RequestBody {
    static let example: JSONValue = ["credential_id": 1]
    static let presence = BodyPresence.optional

    let credentialID: Int?

    init(_ fields: inout FieldReader) throws(ServiceError) {
        self.credentialID = fields.optional(
            "credential_id",
            .id.described("The credential to test with; the first of the device's own when left out.")
        )
        try fields.finish()
    }
}

/// What a test has shown.
struct DiagnosisBody: ResponseBody {
    static let schema = JSONSchema.object([
        "device_id": .id,
        "address": .ip,
        "credential_id": .id,
        "credential_type": .choice(CredentialType.self),
        "endpoint": JSONSchema.string().described("Where the host was reached."),
        "ok": JSONSchema.boolean.described(
            "Whether a poll would bring everything: no stage has failed or was skipped."
        ),
        "duration_ms": .count,
        "stages": JSONSchema.array(of: .reference(to: DiagnosisStageBody.self))
            .described("In the order of the way to the host."),
    ])

    static let example: JSONValue = [
        "device_id": 1, "address": "192.168.1.10", "credential_id": 1, "credential_type": "winrm_ntlm",
        "endpoint": "WinRM HTTP port 5985", "ok": false, "duration_ms": 3, "stages": [DiagnosisStageBody.example],
    ]

    let deviceID: Int
    let address: String
    let credentialID: Int
    let credentialType: CredentialType
    let endpoint: String
    let ok: Bool
    let durationMs: Int
    let stages: [DiagnosisStageBody]

    init(_ outcome: DiagnosisService.Outcome) {
        self.deviceID = outcome.device.id
        self.address = outcome.device.ip
        self.credentialID = outcome.credential.id
        self.credentialType = outcome.credential.type
        self.endpoint = outcome.report.endpoint
        self.ok = outcome.report.isOK
        self.durationMs = outcome.report.durationMs
        self.stages = outcome.report.stages.map(DiagnosisStageBody.init)
    }

    enum CodingKeys: String, CodingKey {
        case deviceID = "device_id"
        case address
        case credentialID = "credential_id"
        case credentialType = "credential_type"
        case endpoint, ok
        case durationMs = "duration_ms"
        case stages
    }
}

/// One step on the way to a host.
struct DiagnosisStageBody: ResponseBody {
    static let schema = JSONSchema.object([
        "stage": .choice(DiagnosisStage.Kind.self),
        "target": JSONSchema.string().orNull.described("A port, the namespace or a class."),
        "result": JSONSchema.choice(DiagnosisStage.Result.self)
            .described("Polls work in spite of a `warning`. What comes after a failure is `skipped`."),
        "duration_ms": .count,
        "detail": JSONSchema.map(of: .string()).orNull
            .described("What was seen, such as `certificate_subject`, `computer` or the number of `rows`."),
        "cause": JSONSchema.object(["code": .choice(PollErrorCode.self), "message": .string()]).orNull,
        "remedy": JSONSchema.string().orNull.described("What can be done, on the host or in NMSlite."),
    ])

    static let example: JSONValue = [
        "stage": "tcp", "target": "5985", "result": "failed", "duration_ms": 2, "detail": .null,
        "cause": ["code": "connection_refused", "message": "WinRM HTTP port 5985: the host refused the connection"],
        "remedy": "Nothing listens on port 5985. On the host run `winrm quickconfig`.",
    ]

    struct Cause: Encodable, Sendable {
        let code: PollErrorCode
        let message: String
    }

    let stage: DiagnosisStage.Kind
    @OrNull var target: String?
    let result: DiagnosisStage.Result
    let durationMs: Int
    @OrNull var detail: [String: String]?
    @OrNull var cause: Cause?
    @OrNull var remedy: String?

    init(_ stage: DiagnosisStage) {
        self.stage = stage.kind
        self._target = OrNull(wrappedValue: stage.target)
        self.result = stage.result
        self.durationMs = stage.durationMs
        let detail = Dictionary(stage.facts.map { ($0.name, $0.value) }) { first, _ in first }
        self._detail = OrNull(wrappedValue: detail.isEmpty ? nil : detail)
        self._cause = OrNull(wrappedValue: stage.cause.map { Cause(code: $0.code, message: $0.message) })
        self._remedy = OrNull(wrappedValue: stage.remedy)
    }

    enum CodingKeys: String, CodingKey {
        case stage, target, result
        case durationMs = "duration_ms"
        case detail, cause, remedy
    }
}
