import Foundation
import Glibc
import Logging
import Supervision
import SupervisionTesting
import Synchronization
import Testing

/// The guard against real processes. Every child carries a sleep time of its own, by which `/proc` is searched.
@Suite(.timeLimit(.minutes(2))) struct ChildProcessTests {
    private let user: ServiceUser
    private let guardExecutable = SupervisionTesting.guardExecutable

    init() throws {
        self.user = try ServiceUser.forChildren(whenRoot: "postgres")
    }

    private func shell(_ script: String, grace: Duration = .seconds(5)) -> ChildConfiguration {
        ChildConfiguration(
            name: "shell",
            executable: "/bin/sh",
            arguments: ["-c", script],
            user: self.user,
            stopGrace: grace
        )
    }

    private static func uniqueSeconds() -> String { "\(Int.random(in: 1_000_000...9_999_999))" }

    @Test func passesOnOutputAndStatus() async throws {
        let (exit, lines) = try await ChildProcess.run(
            self.shell("echo out; echo err >&2; id -u; exit 7"),
            guardExecutable: self.guardExecutable
        )
        #expect(exit.status == 7)
        #expect(lines == ["out", "err", "\(self.user.uid)"])
    }

    @Test func aMissingProgramIsToldApart() async throws {
        let configuration = ChildConfiguration(name: "x", executable: "/nonexistent/x", user: self.user)
        let (exit, lines) = try await ChildProcess.run(configuration, guardExecutable: self.guardExecutable)
        #expect(exit.description == "could not be executed")
        #expect(lines.first?.contains("/nonexistent/x") == true)
    }

    @Test func inheritsNoDescriptorAndNoVariable() async throws {
        setenv("NMSTEST_SECRET", "must not be seen", 1)
        // Without close-on-exec, as a careless library would open it.
        let leaked = open("/etc/hostname", O_RDONLY)
        defer { close(leaked) }
        let (_, lines) = try await ChildProcess.run(
            self.shell("ls /proc/$$/fd; env | grep -c NMSTEST"),
            guardExecutable: self.guardExecutable
        )
        #expect(lines.filter { !["0", "1", "2"].contains($0) } == [])
        #expect(lines.last == "0")
    }

    @Test func stopsGracefully() async throws {
        let lines = Mutex<[String]>([])
        let child = try ChildProcess.spawn(
            self.shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"),
            guardExecutable: self.guardExecutable
        ) { line in lines.withLock { $0.append(line) } }
        #expect(await SupervisionTesting.eventually { lines.withLock { $0 } == ["up"] })
        let exit = await child.stop()
        #expect(exit.status == 3)
        #expect(lines.withLock { $0 } == ["up", "bye"])
    }

    @Test func killsWhatDoesNotStop() async throws {
        let up = Mutex(false)
        let child = try ChildProcess.spawn(
            self.shell("trap '' TERM; echo up; while :; do sleep 0.05; done", grace: .milliseconds(200)),
            guardExecutable: self.guardExecutable
        ) { _ in up.withLock { $0 = true } }
        #expect(await SupervisionTesting.eventually { up.withLock { $0 } })
        #expect(await child.stop().status == 128 + SIGKILL)
    }

    @Test func endsOrphansThatTheChildLeaves() async throws {
        let seconds = Self.uniqueSeconds()
        // In a session of its own, as PostgreSQL's back ends are.
        let (exit, _) = try await ChildProcess.run(
            self.shell("setsid sleep \(seconds) >/dev/null 2>&1 & exit 0"),
            guardExecutable: self.guardExecutable
        )
        #expect(exit.isSuccess)
        #expect(SupervisionTesting.processes(containing: seconds).isEmpty)
    }

    @Test func aReleasedChildEnds() async throws {
        let seconds = Self.uniqueSeconds()
        var child: ChildProcess? = try ChildProcess.spawn(
            ChildConfiguration(name: "sleep", executable: "/bin/sleep", arguments: [seconds], user: self.user),
            guardExecutable: self.guardExecutable
        ) { _ in }
        let guardID = try #require(child?.guardID)
        #expect(await SupervisionTesting.eventually { !SupervisionTesting.children(of: guardID).isEmpty })
        child = nil
        #expect(await SupervisionTesting.eventually { SupervisionTesting.processes(containing: seconds).isEmpty })
    }

    @Test func killingTheGuardEndsTheChild() async throws {
        let seconds = Self.uniqueSeconds()
        let child = try ChildProcess.spawn(
            ChildConfiguration(name: "sleep", executable: "/bin/sleep", arguments: [seconds], user: self.user),
            guardExecutable: self.guardExecutable
        ) { _ in }
        #expect(await SupervisionTesting.eventually { self.sleepers(seconds, under: child.guardID) == 1 })
        kill(child.guardID, SIGKILL)
        #expect(await child.waitForExit().status == 128 + SIGKILL)
        #expect(await SupervisionTesting.eventually { SupervisionTesting.processes(containing: seconds).isEmpty })
    }

    @Test(arguments: [SIGKILL, SIGTERM]) func killingTheSupervisorLeavesNothing(signal: Int32) async throws {
        try await SupervisionTesting.withDirectory { directory in
            let seconds = Self.uniqueSeconds()
            let supervisor = try Self.startSupervisor(of: "trap '' HUP; sleep \(seconds)", lockIn: directory)
            #expect(
                await SupervisionTesting.eventually { SupervisionTesting.processes(containing: seconds).count >= 3 }
            )
            #expect(throws: SupervisionError.directoryInUse(directory: directory, pid: Int(supervisor))) {
                try DirectoryLock.acquire(directory: directory, name: "children.lock")
            }
            kill(supervisor, signal)
            // The lock comes free exactly when guard and child are gone.
            let lock = try await DirectoryLock.acquire(
                directory: directory,
                name: "children.lock",
                waitingUpTo: .seconds(20)
            )
            #expect(SupervisionTesting.processes(containing: seconds).isEmpty)
            withExtendedLifetime(lock) {}
        }
    }

    @Test func aSupervisorWithoutReadersDoesNotBlockTheEnd() async throws {
        try await SupervisionTesting.withDirectory { directory in
            let seconds = Self.uniqueSeconds()
            // Logs far more than a pipe holds before it ends, after its supervisor was killed.
            let script =
                "trap 'head -c 300000 /dev/zero | tr \"\\0\" x; touch \(directory)/ended; exit 0' TERM; "
                + "while :; do sleep 0.05; done; : \(seconds)"
            chmod(directory, 0o777)
            let supervisor = try Self.startSupervisor(of: script, lockIn: directory)
            #expect(
                await SupervisionTesting.eventually { SupervisionTesting.processes(containing: seconds).count >= 3 }
            )
            kill(supervisor, SIGKILL)
            _ = try await DirectoryLock.acquire(
                directory: directory,
                name: "children.lock",
                waitingUpTo: .seconds(20)
            )
            #expect(FileManager.default.fileExists(atPath: directory + "/ended"))
        }
    }

    /// `guardtool parent`, with only its own descriptors, reaped in the background.
    private static func startSupervisor(of script: String, lockIn directory: String) throws -> Int32 {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: SupervisionTesting.guardExecutable.path)
        process.arguments = ["parent", "/bin/sh", "-c", script]
        process.environment = ["LOCK_DIRECTORY": directory, "PATH": "/usr/bin:/bin"]
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        return process.processIdentifier
    }

    private func sleepers(_ seconds: String, under guardID: Int32) -> Int {
        let children = SupervisionTesting.children(of: guardID)
        return SupervisionTesting.processes(containing: seconds).filter { pid in
            let name = try? String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8)
            return children.contains(pid) && name == "sleep\n"
        }.count
    }
}

@Suite struct DirectoryLockTests {
    @Test func aSecondHolderIsRefusedWithTheFirstOnesID() async throws {
        try await SupervisionTesting.withDirectory { directory in
            let lock = try DirectoryLock.acquire(directory: directory, name: "nmslite.lock")
            let expected = SupervisionError.directoryInUse(directory: directory, pid: Int(getpid()))
            #expect(throws: expected) { try DirectoryLock.acquire(directory: directory, name: "nmslite.lock") }
            #expect(expected.description.contains(directory) && expected.description.contains("\(getpid())"))
            withExtendedLifetime(lock) {}
        }
    }

    @Test func waitingEndsWhenTheHolderIsGone() async throws {
        try await SupervisionTesting.withDirectory { directory in
            var lock: DirectoryLock? = try DirectoryLock.acquire(directory: directory, name: "children.lock")
            await #expect(throws: SupervisionError.childrenStillRunning(directory: directory, waited: .seconds(3))) {
                try await DirectoryLock.acquire(
                    directory: directory,
                    name: "children.lock",
                    waitingUpTo: .seconds(3),
                    clock: ImmediateClock()
                )
            }
            withExtendedLifetime(lock) {}
            lock = nil
            // Not at once: a process that another test starts holds the descriptor until it has executed its program.
            _ = try await DirectoryLock.acquire(
                directory: directory,
                name: "children.lock",
                waitingUpTo: .seconds(5)
            )
        }
    }
}

/// Sleeps are over at once.
struct ImmediateClock: Clock {
    var now: ContinuousClock.Instant { ContinuousClock().now }
    var minimumResolution: Duration { .zero }

    func sleep(until deadline: ContinuousClock.Instant, tolerance: Duration?) async throws {
        try Task.checkCancellation()
        await Task.yield()
    }
}

@Suite(.timeLimit(.minutes(1))) struct PrivateDirectoryTests {
    @Test func makesOwnsAndRefuses() async throws {
        try await SupervisionTesting.withDirectory { directory in
            let user = try ServiceUser.forChildren(whenRoot: "postgres")
            try PrivateDirectory.prepare(directory + "/a", mode: 0o700, owner: user)
            try PrivateDirectory.prepare(directory + "/a", mode: 0o700, owner: user)
            try PrivateDirectory.write("secret", to: directory + "/a/file", owner: user)
            for (name, mode) in [("/a", 0o700), ("/a/file", 0o600)] {
                let attributes = try FileManager.default.attributesOfItem(atPath: directory + name)
                #expect(attributes[.posixPermissions] as? Int == mode)
                #expect(attributes[.ownerAccountName] as? String == user.name)
            }
            symlink("/etc", directory + "/link")
            #expect(throws: SupervisionError.self) {
                try PrivateDirectory.prepare(directory + "/link", mode: 0o700, owner: user)
            }
        }
    }

    @Test(.enabled(if: geteuid() == 0)) func namesTheDirectoryThatBlocksTheWay() async throws {
        let user = try ServiceUser.forChildren(whenRoot: "postgres")
        let parent = try SupervisionTesting.makeDirectory(mode: 0o700)
        defer { SupervisionTesting.remove(parent) }
        let directory = parent + "/data"
        try PrivateDirectory.prepare(directory, mode: 0o700, owner: user)
        await #expect(
            throws: SupervisionError.directoryUnreachable(directory: directory, blocked: parent, user: user.name)
        ) {
            try await ChildProcess.checkAccess(
                to: directory,
                user: user,
                guardExecutable: SupervisionTesting.guardExecutable
            )
        }
        chmod(parent, 0o711)
        try await ChildProcess.checkAccess(
            to: directory,
            user: user,
            guardExecutable: SupervisionTesting.guardExecutable
        )
    }
}

@Suite(.timeLimit(.minutes(1))) struct SupervisorTests {
    private func supervisor(
        of script: String,
        backOff: BackOff = BackOff(initial: .milliseconds(10)),
        ready: @escaping @Sendable () async throws -> Void = {},
        liveness: Supervisor.Liveness? = nil
    ) throws -> Supervisor {
        let user = try ServiceUser.forChildren(whenRoot: "postgres")
        return Supervisor(
            name: "child",
            configuration: {
                ChildConfiguration(name: "child", executable: "/bin/sh", arguments: ["-c", script], user: user)
            },
            checkReadiness: ready,
            backOff: backOff,
            liveness: liveness,
            guardExecutable: SupervisionTesting.guardExecutable,
            lock: nil,
            logger: Logger(label: "test")
        )
    }

    @Test func restartsWhatEndsAndCounts() async throws {
        let supervisor = try self.supervisor(of: "sleep 0.1; exit 1")
        try await supervisor.whileRunning {
            #expect(await SupervisionTesting.eventually { supervisor.status.restarts >= 3 })
        }
        #expect(!supervisor.status.isReady)
        #expect(supervisor.status.lastExit != nil)
    }

    /// Two failures, an answer, then none any more: only three in a row end the child, and the next one is watched, too.
    @Test func aChildThatRunsButDoesNotAnswerIsStartedAnew() async throws {
        struct Silent: Error {}
        let checks = Mutex(0)
        let supervisor = try self.supervisor(
            of: "while :; do sleep 0.05; done",
            liveness: Supervisor.Liveness(interval: .milliseconds(10)) {
                let check = checks.withLock { checks in
                    checks += 1
                    return checks
                }
                if check != 3, check <= 6 || check > 20 { throw Silent() }
            }
        )
        try await supervisor.whileRunning {
            #expect(
                await SupervisionTesting.eventually { supervisor.status.restarts == 1 && supervisor.status.isReady }
            )
            #expect(checks.withLock { $0 } >= 6)
            #expect(await SupervisionTesting.eventually { supervisor.status.restarts >= 2 })
        }
    }

    @Test func aChildThatNeverBecomesReadyIsAnErrorWithItsLastWords() async throws {
        struct NotReady: Error {}
        let supervisor = try self.supervisor(of: "echo no such luck; exit 1", ready: { throw NotReady() })
        let error = await #expect(throws: SupervisionError.self) {
            try await supervisor.whileRunning { Issue.record("the body ran") }
        }
        guard case .neverReady("child", "exit status 1", ["no such luck"]) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func theChildOutlivesACancelledBody() async throws {
        let seconds = "\(Int.random(in: 1_000_000...9_999_999))"
        let supervisor = try self.supervisor(of: "sleep \(seconds) & wait")
        let task = Task {
            try await supervisor.whileRunning {
                #expect(
                    await SupervisionTesting.eventually { !SupervisionTesting.processes(containing: seconds).isEmpty }
                )
                while !Task.isCancelled { await Task.yield() }
                // In a task of its own, for this one's sleeps are over at once.
                return await Task {
                    try? await Task.sleep(for: .milliseconds(300))
                    return SupervisionTesting.processes(containing: seconds).isEmpty
                }.value
            }
        }
        try await supervisor.waitUntilReady()
        task.cancel()
        #expect(try await !task.value)
        #expect(SupervisionTesting.processes(containing: seconds).isEmpty)
    }

    @Test func cancellationStopsTheChild() async throws {
        let seconds = "\(Int.random(in: 1_000_000...9_999_999))"
        let supervisor = try self.supervisor(of: "sleep \(seconds) & wait")
        let task = Task { try await supervisor.run() }
        try await supervisor.waitUntilReady()
        #expect(await SupervisionTesting.eventually { !SupervisionTesting.processes(containing: seconds).isEmpty })
        task.cancel()
        try await task.value
        #expect(SupervisionTesting.processes(containing: seconds).isEmpty)
        await #expect(throws: CancellationError.self) { try await supervisor.waitUntilReady() }
    }
}
