internal import Hummingbird

/// `/health`: how the system is, for everyone.
struct HealthController: Sendable {
    let health: HealthService

    @Sendable func report(_: Call<NoQuery, NoBody>) async throws -> HealthBody {
        let report = await self.health.report()
        guard report.isHealthy else { throw UnhealthyError(report: report) }
        return HealthBody(status: "healthy", components: report.components)
    }
}

struct HealthBody: ResponseBody {
    static let schema = JSONSchema.object([
        "status": .choice(["healthy", "unhealthy"]),
        "components": JSONSchema.map(of: .named("ComponentHealth", ComponentHealth.schema)).described("By name."),
    ])

    static let example: JSONValue = [
        "status": "healthy",
        "components": [
            "postgres": ["status": "up", "message": .null], "nats": ["status": "up", "message": .null],
        ],
    ]

    let status: String
    let components: [String: ComponentHealth]
}

extension ComponentHealth {
    static let schema = JSONSchema.object([
        "status": JSONSchema.choice(Status.self)
            .described("`degraded` works with less than it should have; the whole is healthy all the same."),
        "message": .string().orNull,
    ])
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
