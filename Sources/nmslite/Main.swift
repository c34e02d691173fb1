import ArgumentParser
import CProcessGuard
import Foundation
import NMSRuntime
import Supervision

@main
enum Main {
    static func main() async {
        // A guard is this very program in another role; it must do nothing else first.
        if CommandLine.argc > 1, CommandLine.arguments[1] == GuardExecutable.marker {
            Foundation.exit(nms_process_guard_main(CommandLine.argc, CommandLine.unsafeArgv))
        }
        let arguments = Array(CommandLine.arguments.dropFirst())
        let command: any ParsableCommand
        do {
            command = try NMSliteCommand.parseAsRoot(ConfigurationLoader.remainingArguments(of: arguments))
        } catch {
            Self.exit(parsing: error)
        }
        do {
            guard let configured = command as? any ConfiguredCommand else {
                var command = command
                // Help comes as an error of the command that shows it.
                do { try command.run() } catch { NMSliteCommand.exit(withError: error) }
                return
            }
            let loaded = try ConfigurationLoader.load(
                arguments: arguments,
                environment: ProcessInfo.processInfo.environment
            )
            try await configured.run(loaded.configuration, warnings: loaded.warnings)
        } catch let code as ExitCode {
            // The command has said all there is to say.
            Foundation.exit(code.rawValue)
        } catch {
            ErrorReport(error).printAndExit()
        }
    }

    /// Help and version go to standard output; what is wrong with the flags is an error of configuration.
    private static func exit(parsing error: any Error) -> Never {
        if NMSliteCommand.exitCode(for: error) == .success { NMSliteCommand.exit(withError: error) }
        FileHandle.standardError.write(Data((NMSliteCommand.fullMessage(for: error) + "\n").utf8))
        Foundation.exit(ConfigurationErrors.exitStatus)
    }
}
