import Foundation
import NMSCollectors
import NMSCore
import Synchronization
import Testing

@testable import NMSDiscovery

@Suite(.timeLimit(.minutes(1))) struct CredentialTrialsTests {
    /// A gate that lets everybody in and counts failures, as hosts would.
    private final class CountingGate: AddressAuthenticationGate {
        let failures = Mutex<[Int: Int]>([:])
        let suspended = Mutex<Set<Int>>([])

        func authenticate<Result: Sendable>(
            address: IPAddress,
            credentialID: Int,
            attempt: @Sendable () async throws -> Result
        ) async throws -> Result {
            do { return try await attempt() } catch let failure as PollFailure where failure.code == .authFailed {
                self.failures.withLock { $0[credentialID, default: 0] += 1 }
                throw failure
            }
        }

        func isSuspended(credentialID: Int) async throws -> Bool {
            self.suspended.withLock { $0.contains(credentialID) }
        }
    }

    /// Hosts that take the credentials with the given numbers.
    private struct Host: WindowsIdentifier {
        var accepts: Set<Int>
        var attempts = 1
        var other: PollFailure?

        func supports(_ type: CredentialType) -> Bool { true }

        func identify(_ target: CollectorTarget) async throws -> WindowsIdentity {
            if let other { throw other }
            let id = target.credential.credential.id
            for _ in 0..<self.attempts {
                do {
                    try await target.gate.authenticate(deviceID: 0, credentialID: id) {
                        await Task.yield()
                        guard self.accepts.contains(id) else { throw PollFailure(.authFailed, "no") }
                    }
                } catch let failure as PollFailure where failure.code == .authFailed && self.attempts > 1 {}
            }
            var identity = WindowsIdentity()
            identity.hostname = "host-\(id)"
            return identity
        }
    }

    private static func credential(
        _ id: Int,
        _ type: CredentialType = .winrmNTLM,
        _ change: (inout Credential) -> Void = { _ in }
    ) -> DecryptedCredential {
        let now = Date(timeIntervalSince1970: 0)
        var credential = Credential(id: id, name: "c\(id)", type: type, username: "u", createdAt: now, updatedAt: now)
        change(&credential)
        return DecryptedCredential(credential: credential, password: Secret("geheim"))
    }

    private static let address = IPAddress("10.0.0.5")!

    private static func trials(
        _ credentials: [DecryptedCredential],
        _ host: Host,
        _ gate: CountingGate = CountingGate()
    ) -> CredentialTrials {
        CredentialTrials(credentials: credentials, identifiers: [host], gate: gate, timeout: .seconds(5))
    }

    @Test func triesInOrderUntilOneWorks() async throws {
        let trials = Self.trials([1, 2, 3].map { Self.credential($0) }, Host(accepts: [2, 3]))
        let result = try await trials.run(Self.address, ports: [])
        #expect(result.credentialID == 2)
        #expect(result.identity?.hostname == "host-2")
        #expect(result.trials.map(\.credentialID) == [1, 2])
        #expect(result.trials.map(\.error) == [.authFailed, nil])
    }

    @Test func aWrongCredentialMeetsThreeHostsInAll() async throws {
        let gate = CountingGate()
        let trials = Self.trials([Self.credential(1)], Host(accepts: []), gate)
        let results = try await withThrowingTaskGroup(of: [CredentialTrial].self) { group in
            for number in 1...200 {
                let address = try #require(IPAddress("10.0.1.\(number)"))
                group.addTask { try await trials.run(address, ports: []).trials }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(gate.failures.withLock { $0 } == [1: 3])
        #expect(results.count { $0.error == .authFailed } == 3)
        #expect(results.count { $0.error == .credentialSuspended } == 197)
    }

    @Test func aSuccessBetweenKeepsACredentialInUse() async throws {
        let gate = CountingGate()
        let desk = CredentialDesk()
        for _ in 0..<10 {
            for result in [CredentialDesk.Result.failed, .failed, .signedIn] {
                #expect(await desk.enter(1))
                await desk.leave(1, result)
            }
        }
        for _ in 0..<3 {
            #expect(await desk.enter(1))
            await desk.leave(1, .failed)
        }
        #expect(await !desk.enter(1))
        #expect(await desk.enter(2))
        #expect(gate.failures.withLock { $0.isEmpty })
    }

    @Test func neverFailsTwiceOnOneHost() async throws {
        let gate = CountingGate()
        let trials = Self.trials([Self.credential(1)], Host(accepts: [], attempts: 3), gate)
        _ = try await trials.run(Self.address, ports: [])
        #expect(gate.failures.withLock { $0 } == [1: 1])
    }

    @Test func asksTheGuardFirst() async throws {
        let gate = CountingGate()
        gate.suspended.withLock { _ = $0.insert(1) }
        let result = try await Self.trials([1, 2].map { Self.credential($0) }, Host(accepts: [1, 2]), gate)
            .run(Self.address, ports: [])
        #expect(result.trials.map(\.error) == [.credentialSuspended, nil])
        #expect(result.credentialID == 2)
    }

    @Test func stopsAtAHiccup() async throws {
        let host = Host(accepts: [1, 2], other: PollFailure(.timeout, "slow"))
        let result = try await Self.trials([1, 2].map { Self.credential($0) }, host).run(Self.address, ports: [])
        #expect(result.trials.map(\.error) == [.timeout])
    }

    @Test func leavesOutPortsThatAreNotOpen() async throws {
        let ports = [
            DiscoveryEvidence.Port(port: 5985, state: .closed), .init(port: 135, state: .open),
            .init(port: 5986, state: .silent),
        ]
        let credentials = [Self.credential(1), Self.credential(2) { $0.useSSL = true }, Self.credential(3, .wmi)]
        let result = try await Self.trials(credentials, Host(accepts: [1, 2, 3])).run(Self.address, ports: ports)
        #expect(result.trials.map(\.error) == [.connectionRefused, .connectionRefused, nil])
        #expect(result.credentialID == 3)
    }

    @Test func sendsBasicOverVerifiedTLSOnly() async throws {
        let credentials = [
            Self.credential(1, .winrmBasic) { $0.allowUnencryptedBasic = true },
            Self.credential(2, .winrmBasic) {
                $0.useSSL = true
                $0.tlsVerify = .none
            },
            Self.credential(3, .winrmBasic) {
                $0.useSSL = true
                $0.tlsVerify = .chain
            },
        ]
        let result = try await Self.trials(credentials, Host(accepts: [1, 2, 3])).run(Self.address, ports: [])
        #expect(result.trials.map(\.error) == [.encryptionRequired, .encryptionRequired, nil])
    }

    @Test func keepsToAllowedTargetsAndStatus() async throws {
        let elsewhere = try #require(CIDRBlock("10.1.0.0/16"))
        let credentials = [
            Self.credential(1) { $0.allowedTargets = [elsewhere] }, Self.credential(2) { $0.status = .suspended },
        ]
        let result = try await Self.trials(credentials, Host(accepts: [1, 2])).run(Self.address, ports: [])
        #expect(result.trials.map(\.error) == [.accessDenied, .credentialSuspended])
        #expect(result.credentialID == nil)
    }
}
