import Bcrypt
import Foundation
import NMSCore
import NMSStorage
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@testable import NMSAPI

/// What ends a session, and how soon; clocks are moved by hand.
@Suite struct SessionEndTests {
    /// The contract's bound, in seconds.
    private static let bound = 5

    enum End: CaseIterable {
        case removal, passwordChange, logout, refreshReuse
    }

    // Another instance does it: nothing tells this one, whose cache is warm.
    @Test(arguments: End.allCases)
    func everyEndCountsOnEveryEndpointOfEveryInstance(end: End) async throws {
        try await Harness.with { harness, api in
            let login = try await api.post(
                "/auth/login",
                #"{"username":"operator","password":"correct horse battery"}"#
            )
            var session = api
            session.token = try login.data["access_token"].text
            let refresh = try login.data["refresh_token"].text
            #expect(try await session.get("/devices").status == 200)
            try await Self.perform(end, harness, token: try required(session.token), refresh: refresh)
            harness.clock.advance(by: Self.bound)
            let paths = ["/devices", "/devices?limit=1", "/credentials", "/devices/1", "/devices/1/metrics"]
            for path in paths { #expect(try await session.get(path).status == 401, "\(path)") }
            #expect(try await session.post("/devices", #"{"ip":"192.0.2.1"}"#).status == 401)
            #expect(try await session.post("/auth/logout").status == 401)
            let renewed = try await api.post("/auth/refresh", #"{"refresh_token":"\#(refresh)"}"#)
            #expect(renewed.status == 401)
            #expect(renewed.code == "UNAUTHORIZED")
        }
    }

    private static func perform(_ end: End, _ harness: Harness, token: String, refresh: String) async throws {
        let configuration = APIConfiguration(jwtSecret: Harness.jwtSecret)
        let other = try await APIServices(harness.dependencies, configuration).auth
        switch end {
        case .removal: #expect(try await harness.dependencies.users.remove(username: "operator"))
        case .passwordChange:
            let hash = try await harness.dependencies.hasher.hash("another password")
            #expect(try await harness.dependencies.users.setPassword(username: "operator", passwordHash: hash))
        case .logout: try await other.logout(try await other.validate(token), audit: .system)
        case .refreshReuse:
            _ = try await other.refresh(refresh, origin: .system)
            await #expect(throws: ServiceError.self) { try await other.refresh(refresh, origin: .system) }
        }
    }

    // Here the cache is told, and there is nothing to wait for.
    @Test func logoutCountsAtOnce() async throws {
        try await Harness.with { _, api in
            let session = try await api.signedIn()
            #expect(try await session.get("/devices").status == 200)
            #expect(try await session.post("/auth/logout").status == 200)
            #expect(try await session.get("/devices").status == 401)
        }
    }

    @Test func ofSeveralRefreshesAtOnceAtMostOneSucceedsAndTheFamilyEnds() async throws {
        try await Harness.with { harness, api in
            for _ in 0..<5 {
                let login = try await api.post(
                    "/auth/login",
                    #"{"username":"viewer","password":"correct horse battery"}"#
                )
                let body = #"{"refresh_token":"\#(try login.data["refresh_token"].text)"}"#
                let replies = try await withThrowingTaskGroup(of: Reply.self) { group in
                    for _ in 0..<6 { group.addTask { try await api.post("/auth/refresh", body) } }
                    return try await group.reduce(into: [Reply]()) { $0.append($1) }
                }
                let good = replies.filter { $0.status == 200 }
                #expect(good.count <= 1)
                #expect(replies.allSatisfy { $0.status == 200 || $0.status == 401 })
                // Someone has the same token: who gets the successor can't be told apart from the thief.
                harness.clock.advance(by: 2)
                for reply in good {
                    let next = #"{"refresh_token":"\#(try reply.data["refresh_token"].text)"}"#
                    #expect(try await api.post("/auth/refresh", next).status == 401)
                    var session = api
                    session.token = try reply.data["access_token"].text
                    #expect(try await session.get("/devices").status == 401)
                }
            }
        }
    }

    @Test func refreshTokensAreLongRandomAndStoredAsHashes() async throws {
        try await Harness.with { harness, api in
            var tokens: Set<String> = []
            for _ in 0..<20 {
                let login = try await api.post(
                    "/auth/login",
                    #"{"username":"viewer","password":"correct horse battery"}"#
                )
                tokens.insert(try login.data["refresh_token"].text)
            }
            #expect(tokens.count == 20)
            #expect(tokens.allSatisfy { Base64URL.decode($0)?.count == 32 })
            let rows = try await harness.database.pool.query(
                "SELECT to_jsonb(refresh_tokens)::text AS row FROM refresh_tokens"
            )
            for row in rows {
                let text: String = try row.value("row")
                #expect(!tokens.contains { text.contains($0) })
            }
        }
    }

    // Whether a user exists can't be told from the time that a refusal takes.
    @Test func unknownUsersCostAsMuchAsWrongPasswords() async throws {
        try await Harness.with { harness, _ in
            // Costly enough that hashing is nearly all of it.
            let hasher = try PasswordHasher(cost: 9)
            var dependencies = harness.dependencies
            dependencies.hasher = hasher
            let auth = try await APIServices(dependencies, APIConfiguration(jwtSecret: Harness.jwtSecret)).auth
            let hash = try await hasher.hash("a good password")
            #expect(try await dependencies.users.setPassword(username: "viewer", passwordHash: hash))
            func shortest(_ username: String) async -> Duration {
                var times: [Duration] = []
                for _ in 0..<5 {
                    let time = await ContinuousClock().measure {
                        await #expect(throws: ServiceError(.unauthorized, "Wrong username or password")) {
                            try await auth.login(
                                username: username,
                                password: Secret("wrong"),
                                address: "192.0.2.1",
                                origin: .system
                            )
                        }
                    }
                    times.append(time)
                }
                return times.min() ?? .zero
            }
            let known = await shortest("viewer")
            let unknown = await shortest("nobody")
            #expect(unknown > known / 2 && known > unknown / 2, "known \(known), unknown \(unknown)")
        }
    }

    // The documented tolerance for clocks, at both edges of both ends.
    @Test func clockSkewIsFiveSecondsAtTheStartAndNoneAtTheEnd() async throws {
        #expect(AccessTokens.clockSkew == 5)
        try await Harness.with { harness, api in
            let forge = try TokenForge(try required(try await api.signedIn().token))
            let now = Int(harness.clock.wall.timeIntervalSince1970.rounded(.down))
            let cases: [([String: JSONValue], Int)] = [
                (["iat": .integer(now + 5)], 200), (["iat": .integer(now + 6)], 401),
                (["nbf": .integer(now + 5)], 200), (["nbf": .integer(now + 6)], 401),
                (["exp": .integer(now + 1)], 200), (["exp": .integer(now)], 401), (["exp": .integer(now - 1)], 401),
            ]
            for (changes, status) in cases {
                var caller = api
                caller.token = forge.token(changing: changes)
                #expect(try await caller.get("/devices").status == status, "\(changes)")
            }
        }
    }
}
