internal import CProcessGuard
internal import Synchronization

extension ChildProcess {
    /// Lines of output that ``run(_:guardExecutable:lock:)`` keeps: the last ones.
    static let keptLines = 200

    /// Runs a program to its end and returns what it wrote. Cancellation stops it.
    package static func run(
        _ configuration: ChildConfiguration,
        guardExecutable: GuardExecutable,
        lock: DirectoryLock? = nil
    ) async throws -> (exit: ChildExit, lines: [String]) {
        let lines = RecentLines(limit: self.keptLines)
        let child = try self.spawn(configuration, guardExecutable: guardExecutable, lock: lock) { lines.append($0) }
        return (await self.untilExit(of: child), lines.all)
    }

    /// Sees whether `user` can enter, read and write `directory`, by trying it as that user.
    /// - Throws: ``SupervisionError/directoryUnreachable(directory:blocked:user:)``.
    package static func checkAccess(
        to directory: String,
        user: ServiceUser,
        guardExecutable: GuardExecutable
    ) async throws {
        let lines = RecentLines(limit: self.keptLines)
        let child = try self.spawn(
            name: "directory-check",
            user: user,
            options: ["--check-directory", directory],
            environment: ChildConfiguration.plainEnvironment,
            stopGrace: .seconds(5),
            guardExecutable: guardExecutable,
            lock: nil
        ) { lines.append($0) }
        let exit = await self.untilExit(of: child)
        if exit.status == Int32(NMS_GUARD_EXIT_UNREACHABLE) {
            let blocked = lines.all.first ?? directory
            throw SupervisionError.directoryUnreachable(directory: directory, blocked: blocked, user: user.name)
        }
        guard exit.isSuccess else {
            let reason = "\(exit); " + lines.all.joined(separator: " | ")
            throw SupervisionError.cannotStart(name: "directory check", reason: reason)
        }
    }

    private static func untilExit(of child: ChildProcess) async -> ChildExit {
        await withTaskCancellationHandler {
            await child.waitForExit()
        } onCancel: {
            child.requestStop()
        }
    }
}

/// The last lines of a child's output.
final class RecentLines: Sendable {
    private let limit: Int
    private let lines = Mutex<[String]>([])

    init(limit: Int) {
        self.limit = limit
    }

    func append(_ line: String) {
        self.lines.withLock { lines in
            lines.append(line)
            if lines.count > self.limit { lines.removeFirst() }
        }
    }

    func clear() {
        self.lines.withLock { $0 = [] }
    }

    var all: [String] { self.lines.withLock { $0 } }
}
