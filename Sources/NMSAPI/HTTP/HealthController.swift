internal import Hummingbird

/// `/health`: how the system is, for everyone.
struct HealthController: Sendable {
    let health: HealthService

    @Sendable func report(_: EndpointCall) async throws -> Answer {
        let report = await self.health.report()
        guard report.isHealthy else { throw UnhealthyError(report: report) }
        return .ok(HealthBody(status: "healthy", components: report.components))
    }
}

struct HealthBody: Encodable, Sendable {
    let status: String
    let components: [String: ComponentHealth]
}

/// 503 with the components in `details`.
struct UnhealthyError: Error {
    let report: HealthReport

    var response: Response {
        let down = self.report.components.filter { $0.value.status == .down }.keys.sorted().joined(separator: ", ")
        return Envelope.response(
            code: .serviceUnavailable,
            message: "Not healthy: \(down)",
            details: HealthBody(status: "unhealthy", components: self.report.components)
        )
    }
}
