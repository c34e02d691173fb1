import CryptoExtras
import Foundation
import HTTPTypes
import NMSStorage
import Testing

@testable import NMSAPI

/// Every endpoint × every role × every kind of token, with the exact status and code.
///
/// Endpoints come from the server's own table: one without an expectation here fails
/// ``everyEndpointHasAnExpectation()``.
@Suite struct RoleTableTests {
    /// What a caller with the role gets for a request that names nothing that exists.
    struct Expectation: Sendable {
        /// nil: open to everyone, whatever token is sent.
        let role: Role?
        var body: String?
        let status: Int
        /// Empty for an answer without error.
        var code = ""

        static func ok(_ role: Role?, body: String? = nil, status: Int = 200) -> Expectation {
            Expectation(role: role, body: body, status: status)
        }

        static func missing(_ role: Role?, body: String? = nil) -> Expectation {
            Expectation(role: role, body: body, status: 404, code: "NOT_FOUND")
        }

        /// With an empty object as body.
        static func invalid(_ role: Role?) -> Expectation {
            Expectation(role: role, body: "{}", status: 400, code: "VALIDATION_ERROR")
        }
    }

    static let expectations: [String: Expectation] = [
        "POST /api/v1/auth/login": .invalid(nil),
        "POST /api/v1/auth/refresh": .invalid(nil),
        "POST /api/v1/auth/logout": .ok(.viewer),
        "GET /api/v1/credentials": .ok(.viewer),
        "POST /api/v1/credentials": .invalid(.operator),
        "GET /api/v1/credentials/{id}": .missing(.viewer),
        "PUT /api/v1/credentials/{id}": .missing(.operator, body: "{}"),
        "DELETE /api/v1/credentials/{id}": .missing(.operator),
        "POST /api/v1/credentials/{id}/resume": .missing(.operator),
        "GET /api/v1/devices": .ok(.viewer),
        "POST /api/v1/devices": .invalid(.operator),
        "GET /api/v1/devices/{id}": .missing(.viewer),
        "PUT /api/v1/devices/{id}": .missing(.operator, body: "{}"),
        "DELETE /api/v1/devices/{id}": .missing(.operator),
        "POST /api/v1/devices/{id}/provision": .invalid(.operator),
        "POST /api/v1/devices/{id}/deprovision": .missing(.operator),
        "POST /api/v1/devices/{id}/poll": .missing(.operator),
        "POST /api/v1/devices/{id}/test": .missing(.operator),
        "POST /api/v1/devices/discover": .invalid(.operator),
        "GET /api/v1/discoveries": .ok(.viewer),
        "GET /api/v1/discoveries/{id}": .missing(.viewer),
        "DELETE /api/v1/discoveries/{id}": .missing(.operator),
        "GET /api/v1/devices/{id}/metrics": .missing(.viewer),
        "GET /api/v1/devices/{id}/metrics/history": .missing(.viewer),
        "GET /api/v1/audit": .ok(.admin),
        "GET /api/v1/health": .ok(nil),
        "GET /health": .ok(nil),
        "GET /api/v1/openapi.json": .ok(nil),
        "GET /openapi.json": .ok(nil),
    ]

    enum Presented: CaseIterable {
        case none, expired, notYetValid, tampered, unsecured, signedWithRSA, wrongKey, revoked, good
    }

    @Test func everyEndpointHasAnExpectation() async throws {
        try await Harness.with { harness, _ in
            let names = try await Self.endpoints(harness).map(Self.name)
            #expect(Set(names) == Set(Self.expectations.keys))
            #expect(names.count == Set(names).count)
        }
    }

    @Test(arguments: Role.allCases)
    func onlyGoodTokensOfTheRightRolesGetIn(role: Role) async throws {
        let rsa = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        try await Harness.with { harness, api in
            let ended = try await api.signedIn(as: role.rawValue)
            #expect(try await ended.post("/auth/logout").status == 200)
            let forge = try TokenForge(try required(try await api.signedIn(as: role.rawValue).token))
            let now = Int(harness.clock.wall.timeIntervalSince1970)
            for endpoint in try await Self.endpoints(harness) {
                let name = Self.name(endpoint)
                guard let expectation = Self.expectations[name] else { continue }
                for presented in Presented.allCases {
                    var caller = api
                    caller.token =
                        switch presented {
                        case .none: nil
                        case .expired: forge.token(changing: ["exp": .integer(now)])
                        case .notYetValid: forge.token(changing: ["iat": .integer(now + 60)])
                        case .tampered: forge.tampered(["role": .string("admin"), "x": .integer(1)])
                        case .unsecured: forge.unsecured
                        case .signedWithRSA: try forge.signed(by: rsa)
                        case .wrongKey: forge.token(secret: "another key, of thirty-two bytes")
                        case .revoked: ended.token
                        // A new one each time: one of the endpoints is logout.
                        case .good: try await api.signedIn(as: role.rawValue).token
                        }
                    let reply = try await caller.call(
                        endpoint.method,
                        "/" + Self.path(endpoint),
                        expectation.body
                    )
                    let wanted = Self.wanted(expectation, presented, role)
                    #expect(reply.status == wanted.status, "\(name) as \(role), token: \(presented)")
                    #expect(reply.code == wanted.code, "\(name) as \(role), token: \(presented)")
                }
            }
        }
    }

    private static func wanted(
        _ expectation: Expectation,
        _ presented: Presented,
        _ role: Role
    ) -> (status: Int, code: String) {
        guard let needed = expectation.role else { return (expectation.status, expectation.code) }
        guard presented == .good else { return (401, "UNAUTHORIZED") }
        let order: [Role] = [.viewer, .operator, .admin]
        let isAllowed = (order.firstIndex(of: role) ?? -1) >= (order.firstIndex(of: needed) ?? order.count)
        return isAllowed ? (expectation.status, expectation.code) : (403, "FORBIDDEN")
    }

    private static func endpoints(_ harness: Harness) async throws -> [Endpoint] {
        let configuration = APIConfiguration(jwtSecret: Harness.jwtSecret)
        let services = try await APIServices(harness.dependencies, configuration)
        return EndpointTable(services: services).endpoints
    }

    private static func name(_ endpoint: Endpoint) -> String { "\(endpoint.method.rawValue) \(endpoint.path)" }

    private static func path(_ endpoint: Endpoint) -> String {
        endpoint.path.replacing("{id}", with: "77")
            .replacing("{uuid}", with: "00000000-0000-4000-8000-000000000000")
    }
}
