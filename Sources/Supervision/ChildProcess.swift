internal import CProcessGuard
internal import Dispatch
internal import Foundation
internal import Glibc
internal import Synchronization

/// How a child ended.
package struct ChildExit: Sendable, Equatable, CustomStringConvertible {
    /// The exit status; 128 and the signal's number when a signal ended it.
    package let status: Int32

    package init(status: Int32) {
        self.status = status
    }

    package var isSuccess: Bool { self.status == 0 }

    package var description: String {
        switch self.status {
        case Int32(NMS_GUARD_EXIT_EXEC): "could not be executed"
        case Int32(NMS_GUARD_EXIT_SETUP): "could not be set up"
        case 129...192: "ended by signal \(self.status - 128)"
        default: "exit status \(self.status)"
        }
    }
}

/// What to run, and as whom.
package struct ChildConfiguration: Sendable {
    /// For logs and errors.
    package var name: String
    /// An absolute path.
    package var executable: String
    /// Visible to every user of the machine: no secrets.
    package var arguments: [String]
    /// The whole environment; nothing is inherited.
    package var environment: [String: String]
    package var user: ServiceUser
    package var workingDirectory: String?
    /// Asks the server to end.
    package var stopSignal: Int32
    /// What it gets to end by itself before it is killed.
    package var stopGrace: Duration

    package init(
        name: String,
        executable: String,
        arguments: [String] = [],
        environment: [String: String] = ChildConfiguration.plainEnvironment,
        user: ServiceUser,
        workingDirectory: String? = nil,
        stopSignal: Int32 = 15,
        stopGrace: Duration = .seconds(10)
    ) {
        self.name = name
        self.executable = executable
        self.arguments = arguments
        self.environment = environment
        self.user = user
        self.workingDirectory = workingDirectory
        self.stopSignal = stopSignal
        self.stopGrace = stopGrace
    }

    /// A search path and the C locale; none of this process's variables, some of which are secrets.
    package static let plainEnvironment = [
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "TZ": "UTC",
    ]
}

/// The program that becomes a guard: one whose `main` calls `nms_process_guard_main` when it sees the marker.
package struct GuardExecutable: Sendable {
    package let path: String

    package init(path: String) {
        self.path = path
    }

    /// First argument of a process that is to be a guard.
    package static let marker = "__guard"

    /// This very program, even if its file was replaced since.
    package static let current = GuardExecutable(path: "/proc/self/exe")
}

/// A running child behind its guard.
///
/// It ends when it wants to, on ``requestStop()``, when this process ends however that happens, and when this value
/// is released.
package final class ChildProcess: Sendable {
    /// Beyond the grace: time for a guard to end what its server left behind.
    static let guardGrace: Duration = .seconds(8)

    package let name: String
    /// The guard's process id, which is the server's parent.
    package let guardID: Int32

    private struct State {
        var lifetime: Int32
        var running = true
        var exit: ChildExit?
        var waiters: [CheckedContinuation<ChildExit, Never>] = []
    }

    private let state: Mutex<State>
    private let stopLimit: Duration

    private init(name: String, handles: nms_guard_handles, stopLimit: Duration) {
        self.name = name
        self.guardID = handles.pid
        self.stopLimit = stopLimit
        self.state = Mutex(State(lifetime: handles.lifetime_fd))
    }

    deinit {
        self.state.withLock { if $0.lifetime >= 0 { close($0.lifetime) } }
    }

    /// Starts a child. `output` gets its standard output and error line by line, on a thread of its own.
    /// - Parameter lock: inherited by guard and child: it is held as long as any of them lives.
    /// - Throws: ``SupervisionError/cannotStart(name:reason:)``; a program that can't be executed shows as its exit.
    package static func spawn(
        _ configuration: ChildConfiguration,
        guardExecutable: GuardExecutable,
        lock: DirectoryLock? = nil,
        output: @escaping @Sendable (String) -> Void
    ) throws -> ChildProcess {
        let milliseconds = configuration.stopGrace / .milliseconds(1)
        var options = ["--parent", "\(getpid())", "--stop-signal", "\(configuration.stopSignal)"]
        options += ["--grace-ms", "\(Int(milliseconds))"]
        if let directory = configuration.workingDirectory { options += ["--directory", directory] }
        if lock != nil { options.append("--lock") }
        options += ["--", configuration.executable] + configuration.arguments
        return try self.spawn(
            name: configuration.name,
            user: configuration.user,
            options: options,
            environment: configuration.environment,
            stopGrace: configuration.stopGrace,
            guardExecutable: guardExecutable,
            lock: lock,
            output: output
        )
    }

    static func spawn(
        name: String,
        user: ServiceUser,
        options: [String],
        environment: [String: String],
        stopGrace: Duration,
        guardExecutable: GuardExecutable,
        lock: DirectoryLock?,
        output: @escaping @Sendable (String) -> Void
    ) throws -> ChildProcess {
        var arguments = [name + "-guard", GuardExecutable.marker]
        if user.isOther { arguments += ["--user", "\(user.uid):\(user.gid)"] }
        arguments += options
        let variables = environment.map { "\($0.key)=\($0.value)" }.sorted()
        guard (arguments + variables).allSatisfy({ !$0.utf8.contains(0) }) else {
            throw SupervisionError.cannotStart(name: name, reason: "an argument contains a NUL character")
        }
        var handles = nms_guard_handles()
        let code = withCStrings(arguments) { argv in
            withCStrings(variables) { envp in
                nms_guard_spawn(guardExecutable.path, argv, envp, lock?.fileDescriptor ?? -1, &handles)
            }
        }
        guard code == 0 else {
            let reason = "\(guardExecutable.path): \(String(cString: strerror(code)))"
            throw SupervisionError.cannotStart(name: name, reason: reason)
        }
        let child = ChildProcess(name: name, handles: handles, stopLimit: stopGrace + self.guardGrace)
        child.startThreads(log: handles.log_fd, output: output)
        return child
    }

    /// Waits for the end of guard and child. Not ended by cancellation: whoever wants it sooner asks it to stop.
    package func waitForExit() async -> ChildExit {
        await withCheckedContinuation { continuation in
            let exit = self.state.withLock { state -> ChildExit? in
                if state.exit == nil { state.waiters.append(continuation) }
                return state.exit
            }
            if let exit { continuation.resume(returning: exit) }
        }
    }

    /// Asks the child to end; it is killed when its grace is over. Returns at once.
    package func requestStop() {
        let first = self.state.withLock { state -> Bool in
            guard state.lifetime >= 0 else { return false }
            close(state.lifetime)
            state.lifetime = -1
            return true
        }
        guard first else { return }
        // A guard that hangs is killed, and with it its child. Not a task: those that stop children are often cancelled.
        let milliseconds = Int(self.stopLimit / .milliseconds(1))
        DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(milliseconds)) { [weak self] in
            self?.kill()
        }
    }

    /// Asks the child to end, and waits until it has.
    @discardableResult
    package func stop() async -> ChildExit {
        self.requestStop()
        return await self.waitForExit()
    }

    /// Ends guard and child at once.
    package func kill() {
        // Under the lock the guard is not reaped yet, so that its id can't be another's.
        self.state.withLock { if $0.running { _ = Glibc.kill(self.guardID, SIGKILL) } }
    }

    private func startThreads(log: Int32, output: @escaping @Sendable (String) -> Void) {
        let reader = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            Self.readLines(from: log, output: output)
            reader.signal()
        }
        let guardID = self.guardID
        // Weak: a child that nobody refers to any more ends, and is still reaped.
        Thread.detachNewThread { [weak self] in
            var info = siginfo_t()
            while waitid(P_PID, id_t(guardID), &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
            // The last lines, if they come: a killed guard's grandchildren may keep the log open for long.
            _ = reader.wait(timeout: .now() + .milliseconds(500))
            self?.state.withLock { $0.running = false }
            var status: Int32 = 0
            while waitpid(guardID, &status, 0) < 0, errno == EINTR {}
            self?.finish(ChildExit(status: status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + status & 0x7f))
        }
    }

    private func finish(_ exit: ChildExit) {
        let waiters = self.state.withLock { state in
            state.exit = exit
            if state.lifetime >= 0 { close(state.lifetime) }
            state.lifetime = -1
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(returning: exit) }
    }

    private static func readLines(from descriptor: Int32, output: (String) -> Void) {
        defer { close(descriptor) }
        var splitter = LineSplitter()
        var buffer = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            splitter.feed(buffer[..<count], second: Int(time(nil))).forEach(output)
        }
        splitter.finish(second: Int(time(nil))).forEach(output)
    }
}

/// A NULL-terminated vector of C strings for the time of `body`.
private func withCStrings<Result>(
    _ strings: [String],
    _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    let copies = strings.map { strdup($0) } + [nil]
    defer { copies.forEach { free($0) } }
    return copies.withUnsafeBufferPointer { body($0.baseAddress.unsafelyUnwrapped) }
}
