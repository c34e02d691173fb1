import Testing

@testable import Bcrypt

@Suite struct PasswordHasherTests {
    private func hasher(width: Int = 2, pendingLimit: Int = 32) throws -> PasswordHasher {
        try PasswordHasher(cost: 4, width: width, pendingLimit: pendingLimit)
    }

    @Test func hashesVerifyAndHaveFreshSalts() async throws {
        let hasher = try self.hasher()
        let first = try await hasher.hash("correct horse")
        let second = try await hasher.hash("correct horse")
        #expect(first.hasPrefix("$2b$04$"))
        #expect(first.utf8.count == 60)
        #expect(first != second)
        #expect(try await hasher.verify("correct horse", against: first))
        #expect(try await hasher.verify("correct horse", against: second))
        #expect(try await !hasher.verify("correct horsf", against: first))
        #expect(try await !hasher.verify("", against: first))
    }

    // Published bcrypt vectors (Openwall's crypt_blowfish, wrapper.c).
    @Test(arguments: [
        ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        ("U*U*", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"),
        ("U*U*U", "$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"),
    ])
    func knownHashesVerify(password: String, hash: String) async throws {
        #expect(try await self.hasher().verify(password, against: hash))
        #expect(try await !self.hasher().verify(password + "x", against: hash))
    }

    @Test func passwordsThatBcryptWouldCutAreRefused() async throws {
        let hasher = try self.hasher()
        let longest = String(repeating: "ä", count: 36)
        let hash = try await hasher.hash(longest)
        #expect(try await hasher.verify(longest, against: hash))
        #expect(try await !hasher.verify(longest + "x", against: hash))
        await #expect(throws: BcryptError.passwordTooLong(bytes: 73)) { try await hasher.hash(longest + "x") }
        await #expect(throws: BcryptError.passwordContainsNUL) { try await hasher.hash("abc\0def") }
        await #expect(throws: BcryptError.passwordEmpty) { try await hasher.hash("") }
        let short = try await hasher.hash("abc")
        #expect(try await !hasher.verify("abc\0def", against: short))
    }

    @Test(arguments: [
        "", "*0", "plain", "$2b$04$short", "$6$rounds=5000$salt$hash",
        "$2b$99$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2b$0x$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOe\n",
    ])
    func malformedHashesNeverMatch(hash: String) async throws {
        #expect(try await !self.hasher().verify("U*U", against: hash))
    }

    @Test func rehashIsWantedForAnotherCostOrVariant() async throws {
        let hasher = try self.hasher()
        let own = try await hasher.hash("x")
        #expect(!hasher.needsRehash(own))
        #expect(hasher.needsRehash("$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"))
        #expect(hasher.needsRehash("$2a$04$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"))
        #expect(hasher.needsRehash("plain"))
    }

    @Test(arguments: [3, 32, -1]) func costsOutsideTheRangeAreRefused(cost: Int) {
        #expect(throws: BcryptError.unsupportedCost(cost)) { try PasswordHasher(cost: cost) }
    }

    @Test func moreThanTheLimitIsRefusedAtOnce() async throws {
        let hasher = try PasswordHasher(cost: 8, width: 1, pendingLimit: 2)
        let outcomes = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    do throws(BcryptError) {
                        _ = try await hasher.hash("x")
                        return true
                    } catch {
                        #expect(error == .busy)
                        return false
                    }
                }
            }
            return await group.reduce(into: [Bool]()) { $0.append($1) }
        }
        #expect(outcomes.contains(true))
        #expect(outcomes.contains(false))
        // What was refused has left nothing behind.
        _ = try await hasher.hash("x")
    }

    @Test func comparisonLooksAtEveryByte() {
        #expect(Crypt.constantTimeEqual([1, 2, 3], [1, 2, 3]))
        #expect(!Crypt.constantTimeEqual([1, 2, 3], [1, 2, 4]))
        #expect(!Crypt.constantTimeEqual([0, 2, 3], [1, 2, 3]))
        #expect(!Crypt.constantTimeEqual([1, 2], [1, 2, 3]))
    }
}
