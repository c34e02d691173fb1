import Foundation
import NMSStorage
import NMSStorageTestSupport
import Postgres
import PostgresTestSupport
import Testing

@Suite struct UserRepositoryTests {
    @Test func createFindListRemove() async throws {
        try await TestDatabase.with(.migrated) { database in
            let users = UserRepository(pool: database.pool)
            let ada = try await users.create(username: "Ada", passwordHash: "h1", role: .admin)
            _ = try await users.create(username: "bob", passwordHash: "h2", role: .viewer)
            #expect(try await users.user(username: "ADA") == ada)
            #expect(try await users.user(id: ada.id) == ada)
            #expect(try await users.user(username: "nobody") == nil)
            #expect(try await users.list().map(\.username) == ["Ada", "bob"])
            #expect(try await users.count() == 2)
            await #expect(throws: StorageError.duplicate(field: "username", value: "aDA")) {
                _ = try await users.create(username: "aDA", passwordHash: "h3", role: .viewer)
            }
            #expect(try await users.remove(username: "BOB"))
            #expect(try await !users.remove(username: "bob"))
            #expect(try await users.setPassword(username: "ada", passwordHash: "h4"))
            #expect(try await users.user(id: ada.id)?.passwordHash == "h4")
            #expect(try await !users.setPassword(username: "nobody", passwordHash: "h4"))
        }
    }

    @Test(.timeLimit(.minutes(1))) func thereIsOneFirstUser() async throws {
        try await TestDatabase.with(.migrated) { database in
            let users = UserRepository(pool: database.pool)
            let created = try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<8 {
                    group.addTask {
                        try await users.createFirst(username: "admin\(number)", passwordHash: "h", role: .admin) != nil
                    }
                }
                return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(created == 1)
            #expect(try await users.count() == 1)
        }
    }
}

@Suite struct SessionRepositoryTests {
    private let now = Date(timeIntervalSince1970: 1_790_000_000)
    private var later: Date { self.now.addingTimeInterval(3600) }

    private func with(_ body: (SessionRepository, UserRepository, User) async throws -> Void) async throws {
        try await TestDatabase.with(.migrated) { database in
            let users = UserRepository(pool: database.pool)
            let user = try await users.create(username: "ada", passwordHash: "h", role: .operator)
            try await body(SessionRepository(pool: database.pool), users, user)
        }
    }

    @Test func rotationKeepsTheSession() async throws {
        try await self.with { sessions, _, user in
            let session = try await sessions.create(userID: user.id, tokenHash: "t1", expiresAt: self.later)
            #expect(try await sessions.user(sessionID: session, now: self.now) == user)
            func rotate(_ token: String, to next: String, now: Date) async throws -> RefreshOutcome {
                try await sessions.rotate(
                    tokenHash: token,
                    successorHash: next,
                    successorExpiresAt: now.addingTimeInterval(3600),
                    now: now
                )
            }
            let then = self.now.addingTimeInterval(3000)
            #expect(try await rotate("t1", to: "t2", now: then) == .rotated(sessionID: session, user: user))
            // The session lives as long as its latest token.
            #expect(try await sessions.user(sessionID: session, now: then.addingTimeInterval(3599)) == user)
            #expect(try await sessions.user(sessionID: session, now: then.addingTimeInterval(3600)) == nil)
            #expect(try await rotate("unknown", to: "t3", now: then) == .invalid)
            #expect(try await rotate("t2", to: "t3", now: then.addingTimeInterval(3600)) == .invalid)
        }
    }

    @Test func reuseOfARotatedTokenRevokesItsFamily() async throws {
        try await self.with { sessions, _, user in
            let session = try await sessions.create(userID: user.id, tokenHash: "t1", expiresAt: self.later)
            let other = try await sessions.create(userID: user.id, tokenHash: "o1", expiresAt: self.later)
            func rotate(_ token: String, to next: String) async throws -> RefreshOutcome {
                try await sessions.rotate(
                    tokenHash: token,
                    successorHash: next,
                    successorExpiresAt: self.later,
                    now: self.now
                )
            }
            _ = try await rotate("t1", to: "t2")
            #expect(try await rotate("t1", to: "t3") == .reused(sessionID: session))
            #expect(try await sessions.user(sessionID: session, now: self.now) == nil)
            #expect(try await rotate("t2", to: "t4") == .invalid)
            #expect(try await sessions.user(sessionID: other, now: self.now) == user)
        }
    }

    @Test(.timeLimit(.minutes(1))) func ofSeveralWithOneTokenOneWins() async throws {
        try await self.with { sessions, _, user in
            let session = try await sessions.create(userID: user.id, tokenHash: "t", expiresAt: self.later)
            let (now, later) = (self.now, self.later)
            let outcomes = try await withThrowingTaskGroup(of: RefreshOutcome.self) { group in
                for number in 0..<6 {
                    group.addTask {
                        try await sessions.rotate(
                            tokenHash: "t",
                            successorHash: "n\(number)",
                            successorExpiresAt: later,
                            now: now
                        )
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(outcomes.count { $0 == .rotated(sessionID: session, user: user) } == 1)
            #expect(outcomes.contains(.reused(sessionID: session)))
        }
    }

    @Test func sessionsEndWithLogoutPasswordAndUser() async throws {
        try await self.with { sessions, users, user in
            let first = try await sessions.create(userID: user.id, tokenHash: "t1", expiresAt: self.later)
            let second = try await sessions.create(userID: user.id, tokenHash: "t2", expiresAt: self.later)
            try await sessions.revoke(sessionID: first)
            try await sessions.revoke(sessionID: first)
            try await sessions.revoke(sessionID: "nonsense")
            #expect(try await sessions.user(sessionID: "nonsense", now: self.now) == nil)
            #expect(try await sessions.user(sessionID: first, now: self.now) == nil)
            #expect(try await sessions.user(sessionID: second, now: self.now) == user)
            _ = try await users.setPassword(username: "ada", passwordHash: "h2")
            #expect(try await sessions.user(sessionID: second, now: self.now) == nil)
            let third = try await sessions.create(userID: user.id, tokenHash: "t3", expiresAt: self.later)
            _ = try await users.remove(username: "ada")
            #expect(try await sessions.user(sessionID: third, now: self.now) == nil)
        }
    }

    @Test func expiredTokensAreRemoved() async throws {
        try await self.with { sessions, _, user in
            let dead = try await sessions.create(userID: user.id, tokenHash: "t1", expiresAt: self.now)
            let alive = try await sessions.create(userID: user.id, tokenHash: "t2", expiresAt: self.later)
            #expect(try await sessions.removeExpired(now: self.now) == 1)
            #expect(try await sessions.removeExpired(now: self.now) == 0)
            #expect(try await sessions.user(sessionID: dead, now: self.now.addingTimeInterval(-1)) == nil)
            #expect(try await sessions.user(sessionID: alive, now: self.now) == user)
        }
    }
}
