// A program that can be a guard, for tests: their own executable cannot. With "parent PROGRAM ARGS..." it plays the
// supervisor that a test kills.

internal import CProcessGuard
internal import Foundation
internal import Glibc
internal import Supervision

if CommandLine.arguments.dropFirst().first == GuardExecutable.marker {
    exit(nms_process_guard_main(CommandLine.argc, CommandLine.unsafeArgv))
}

guard CommandLine.arguments.count > 2, CommandLine.arguments[1] == "parent" else {
    print("usage: guardtool parent PROGRAM [ARGUMENT...]")
    exit(64)
}

let lock = try ProcessInfo.processInfo.environment["LOCK_DIRECTORY"].map {
    try DirectoryLock.acquire(directory: $0, name: "children.lock")
}
let configuration = ChildConfiguration(
    name: "child",
    executable: CommandLine.arguments[2],
    arguments: Array(CommandLine.arguments.dropFirst(3)),
    user: try ServiceUser.forChildren(whenRoot: "postgres"),
    stopGrace: .seconds(1)
)
let child = try ChildProcess.spawn(configuration, guardExecutable: .current, lock: lock) { line in
    print(line)
    fflush(nil)
}
print("guard \(child.guardID)")
fflush(nil)
let status = await child.waitForExit()
exit(status.status)
