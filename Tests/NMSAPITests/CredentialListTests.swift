import NMSCore
import NMSStorage
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSAPI

/// `GET /credentials` with search, filters and order.
@Suite struct CredentialListTests {
    private static func fill(_ api: API) async throws {
        let bodies = [
            #"{"name":"beta","credential_type":"wmi","username":"Zoe","password":"p","domain":"CORP"}"#,
            #"{"name":"Alpha","credential_type":"winrm_ntlm","username":"adam","password":"p","domain":"lab.example"}"#,
            #"{"name":"100%","credential_type":"wmi","username":"adam","password":"p"}"#,
            #"{"name":"a_b","credential_type":"winrm_basic","username":"Bob","password":"p","use_ssl":true}"#,
        ]
        for body in bodies { #expect(try await api.post("/credentials", body).status == 201) }
    }

    private static func names(_ reply: Reply) throws -> [String] {
        guard case .array(let credentials) = reply.data["credentials"] else { throw HarnessError.missing }
        return try credentials.map { try $0["name"].text }
    }

    @Test func areSearchedFilteredSortedAndPaged() async throws {
        try await Harness.with { harness, api in
            let api = try await api.signedIn()
            try await Self.fill(api)
            try await harness.database.pool.query("UPDATE credentials SET status = 'suspended' WHERE name = 'beta'")
            let expectations: [(String, [String])] = [
                ("", ["beta", "Alpha", "100%", "a_b"]),
                ("sort=-id", ["a_b", "100%", "Alpha", "beta"]),
                ("sort=name", ["100%", "a_b", "Alpha", "beta"]),
                ("sort=-name", ["beta", "Alpha", "a_b", "100%"]),
                // Equal ones by id, in the same direction.
                ("sort=username", ["Alpha", "100%", "a_b", "beta"]),
                ("sort=-username", ["beta", "a_b", "100%", "Alpha"]),
                ("sort=credential_type", ["a_b", "Alpha", "beta", "100%"]),
                ("sort=created_at", ["beta", "Alpha", "100%", "a_b"]),
                ("sort=-updated_at", ["a_b", "100%", "Alpha", "beta"]),
                ("sort=status", ["Alpha", "100%", "a_b", "beta"]),
                ("search=ALP", ["Alpha"]), ("search=adam", ["Alpha", "100%"]), ("search=corp", ["beta"]),
                ("search=%25", ["100%"]), ("search=_", ["a_b"]), ("search=%5C", []), ("search=password", []),
                ("credential_type=wmi", ["beta", "100%"]), ("status=suspended", ["beta"]),
                ("credential_type=wmi&status=active&search=a", ["100%"]),
                ("limit=2&offset=1", ["Alpha", "100%"]), ("sort=name&limit=1&offset=3", ["beta"]), ("offset=9", []),
            ]
            for (query, names) in expectations {
                let reply = try await api.get("/credentials?\(query)")
                #expect(try Self.names(reply) == names, "\(query)")
                if !query.contains("offset") { #expect(reply.data["total"] == .integer(names.count), "\(query)") }
            }
            #expect(try await api.get("/credentials?search=a&limit=1").data["total"] == 4)
        }
    }

    @Test(arguments: [
        ("sort=password", "sort"), ("sort=--id", "sort"), ("sort=", "sort"), ("status=gone", "status"),
        ("credential_type=ssh", "credential_type"), ("search=", "search"), ("status=active&status=active", "status"),
        ("type=wmi", "type"), ("limit=0", "limit"), ("offset=-1", "offset"), ("limit=5.0", "limit"),
    ])
    func wrongParametersAreNamed(query: String, field: String) async throws {
        try await Harness.with { _, api in
            let reply = try await api.signedIn().get("/credentials?\(query)")
            #expect(reply.status == 400)
            #expect(reply.details["field"] == .string(field))
        }
    }
}
