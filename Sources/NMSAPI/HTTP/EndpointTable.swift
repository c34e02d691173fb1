internal import HTTPTypes
internal import NMSStorage

/// Every endpoint with who may call it: the one place where roles are decided (contract: `viewer` reads, `operator`
/// also writes devices and credentials).
struct EndpointTable: Sendable {
    static let base = "/api/v1"

    let endpoints: [Endpoint]

    init(services: APIServices) {
        let auth = AuthController(auth: services.auth)
        let credentials = CredentialController(credentials: services.credentials)
        let devices = DeviceController(devices: services.devices)
        let metrics = MetricsController(metrics: services.metrics)
        let health = HealthController(health: services.health)
        let base = Self.base
        self.endpoints = [
            Endpoint(.post, "\(base)/auth/login", .open, body: .json, handler: auth.login),
            Endpoint(.post, "\(base)/auth/refresh", .open, body: .json, handler: auth.refresh),
            Endpoint(.post, "\(base)/auth/logout", .role(.viewer), handler: auth.logout),

            Endpoint(.get, "\(base)/credentials", .role(.viewer), handler: credentials.list),
            Endpoint(.post, "\(base)/credentials", .role(.operator), body: .json, handler: credentials.create),
            Endpoint(.get, "\(base)/credentials/{id}", .role(.viewer), handler: credentials.get),
            Endpoint(.put, "\(base)/credentials/{id}", .role(.operator), body: .json, handler: credentials.update),
            Endpoint(.delete, "\(base)/credentials/{id}", .role(.operator), handler: credentials.delete),
            Endpoint(.post, "\(base)/credentials/{id}/resume", .role(.operator), handler: credentials.resume),

            Endpoint(.get, "\(base)/devices", .role(.viewer), handler: devices.list),
            Endpoint(.post, "\(base)/devices", .role(.operator), body: .json, handler: devices.create),
            Endpoint(.get, "\(base)/devices/{id}", .role(.viewer), handler: devices.get),
            Endpoint(.put, "\(base)/devices/{id}", .role(.operator), body: .json, handler: devices.update),
            Endpoint(.delete, "\(base)/devices/{id}", .role(.operator), handler: devices.delete),
            Endpoint(
                .post,
                "\(base)/devices/{id}/provision",
                .role(.operator),
                body: .json,
                handler: devices.provision
            ),
            Endpoint(.post, "\(base)/devices/{id}/deprovision", .role(.operator), handler: devices.deprovision),
            Endpoint(.post, "\(base)/devices/{id}/poll", .role(.operator), handler: devices.poll),

            Endpoint(.get, "\(base)/devices/{id}/metrics", .role(.viewer), handler: metrics.latest),
            Endpoint(.get, "\(base)/devices/{id}/metrics/history", .role(.viewer), handler: metrics.history),

            Endpoint(.get, "\(base)/health", .open, handler: health.report),
            Endpoint(.get, "/health", .open, handler: health.report),
        ]
    }

    /// The methods that a path has, in the table's order; empty when there is no such path.
    func methods(path: String) -> [String] {
        let parts = path.split(separator: "/")
        return self.endpoints.filter { $0.matches(path: parts) }.map(\.method.rawValue)
    }
}
