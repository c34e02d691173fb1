internal import HTTPTypes
internal import Hummingbird
internal import NMSStorage

/// Every endpoint with who may call it: the one place where roles are decided (contract: `viewer` reads, `operator`
/// also writes devices and credentials). What the document says of them is in `EndpointTable+….swift`, by subject.
struct EndpointTable: Sendable {
    static let base = "/api/v1"

    let endpoints: [Endpoint]
    /// The OpenAPI document of all of them.
    let document: OpenAPIDocument

    init(services: APIServices) {
        var endpoints = Self.auth(AuthController(auth: services.auth))
        endpoints += Self.credentials(CredentialController(credentials: services.credentials))
        endpoints += Self.devices(DeviceController(devices: services.devices, metrics: services.metrics))
        endpoints += Self.diagnosis(DiagnosisController(diagnosis: services.diagnosis))
        endpoints += Self.discoveries(DiscoveryController(discoveries: services.discoveries))
        endpoints += Self.metrics(MetricsController(metrics: services.metrics))
        endpoints += Self.audit(AuditController(audit: services.audit))
        endpoints += Self.health(HealthController(health: services.health))
        // The document tells of itself as well.
        let document = OpenAPIDocument(endpoints + Self.openAPI { _ in Response(status: .notFound) })
        let file = OpenAPIFile(document)
        self.endpoints = endpoints + Self.openAPI { file.response(to: $0) }
        self.document = document
    }

    /// The methods that a path has, in the table's order; empty when there is no such path.
    func methods(path: String) -> [String] {
        let parts = path.split(separator: "/")
        let matching = self.endpoints.filter { $0.matches(path: parts) }
        // As the router decides: a path that is spelled out is not another one's `{id}`.
        let spelledOut = matching.filter { !$0.path.contains("{") }
        return (spelledOut.isEmpty ? matching : spelledOut).map(\.method.rawValue)
    }
}
