import HTTPTypes
import NMSStorage
import Testing

@testable import NMSAPI

/// Every endpoint × every caller, with the exact status.
@Suite struct RoleTableTests {
    struct Row: Sendable {
        let method: HTTPRequest.Method
        let path: String
        var body: String?
        /// nil: open to everyone.
        let role: Role?
        /// What a caller with the role gets for this request, which names nothing that exists.
        let status: Int
    }

    static let rows: [Row] = [
        Row(method: .post, path: "/auth/login", body: "{}", role: nil, status: 400),
        Row(method: .post, path: "/auth/refresh", body: "{}", role: nil, status: 400),
        Row(method: .post, path: "/auth/logout", role: .viewer, status: 200),
        Row(method: .get, path: "/credentials", role: .viewer, status: 200),
        Row(method: .post, path: "/credentials", body: "{}", role: .operator, status: 400),
        Row(method: .get, path: "/credentials/77", role: .viewer, status: 404),
        Row(method: .put, path: "/credentials/77", body: "{}", role: .operator, status: 404),
        Row(method: .delete, path: "/credentials/77", role: .operator, status: 404),
        Row(method: .post, path: "/credentials/77/resume", role: .operator, status: 404),
        Row(method: .get, path: "/devices", role: .viewer, status: 200),
        Row(method: .post, path: "/devices", body: "{}", role: .operator, status: 400),
        Row(method: .get, path: "/devices/77", role: .viewer, status: 404),
        Row(method: .put, path: "/devices/77", body: "{}", role: .operator, status: 404),
        Row(method: .delete, path: "/devices/77", role: .operator, status: 404),
        Row(method: .post, path: "/devices/77/provision", body: "{}", role: .operator, status: 400),
        Row(method: .post, path: "/devices/77/deprovision", role: .operator, status: 404),
        Row(method: .post, path: "/devices/77/poll", role: .operator, status: 404),
        Row(method: .get, path: "/devices/77/metrics", role: .viewer, status: 404),
        Row(method: .get, path: "/devices/77/metrics/history", role: .viewer, status: 404),
        Row(method: .get, path: "/health", role: nil, status: 200),
        Row(method: .get, path: "//health", role: nil, status: 200),
    ]

    @Test func everyEndpointIsInThisTable() async throws {
        try await Harness.with { harness, _ in
            let services = try await APIServices(
                harness.dependencies,
                APIConfiguration(jwtSecret: Harness.jwtSecret)
            )
            #expect(EndpointTable(services: services).endpoints.count == Self.rows.count)
        }
    }

    @Test func onlyTheRolesOfTheTableGetIn() async throws {
        try await Harness.with { _, api in
            for row in Self.rows { try await self.check(row, api) }
        }
    }

    private func check(_ row: Row, _ api: API) async throws {
        let name = "\(row.method) \(row.path)"
        let anonymous = try await api.call(row.method, row.path, row.body)
        #expect(anonymous.status == (row.role == nil ? row.status : 401), "\(name)")
        #expect(row.role == nil || anonymous.code == "UNAUTHORIZED", "\(name)")
        var bogus = api
        bogus.token = "bogus"
        let refused = try await bogus.call(row.method, row.path, row.body)
        #expect(refused.status == (row.role == nil ? row.status : 401), "\(name)")
        for role in Role.allCases {
            let caller = try await api.signedIn(as: role.rawValue)
            let reply = try await caller.call(row.method, row.path, row.body)
            let mayCall = row.role.map { role.covers($0) } ?? true
            #expect(reply.status == (mayCall ? row.status : 403), "\(name) as \(role)")
            #expect(mayCall || reply.code == "FORBIDDEN", "\(name) as \(role)")
        }
    }
}
