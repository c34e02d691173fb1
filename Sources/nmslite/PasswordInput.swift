import Foundation
import NMSClient
import NMSCore

/// Reads passwords from people and from pipes; never from arguments.
enum PasswordInput {
    /// Asks twice on a terminal; one line of standard input otherwise.
    static func readNew(_ prompt: String = "New password: ") throws -> Secret {
        guard isatty(STDIN_FILENO) == 1 else { return try self.checked(readLine(strippingNewline: true)) }
        let first = try self.checked(self.prompt(prompt))
        guard self.prompt("Again: ") == first.exposed else { throw CommandError("the two passwords differ") }
        return first
    }

    /// Asks once on a terminal; one line of standard input otherwise.
    static func readExisting(of user: String) throws -> Secret {
        guard isatty(STDIN_FILENO) == 1 else { return try self.checked(readLine(strippingNewline: true)) }
        return try self.checked(self.prompt("Password of \(user): "))
    }

    /// Asks on a terminal; without one nobody confirms anything.
    static func confirms(_ question: String) -> Bool {
        guard isatty(STDIN_FILENO) == 1 else { return false }
        FileHandle.standardError.write(Data(question.utf8))
        return readLine()?.trimmingCharacters(in: .whitespaces).lowercased() == "yes"
    }

    private static func checked(_ text: String?) throws -> Secret {
        guard let text, !text.isEmpty else { throw CommandError("no password was given") }
        return Secret(text)
    }

    private static func prompt(_ text: String) -> String? {
        FileHandle.standardError.write(Data(text.utf8))
        var settings = termios()
        guard tcgetattr(STDIN_FILENO, &settings) == 0 else { return readLine(strippingNewline: true) }
        var silent = settings
        silent.c_lflag &= ~tcflag_t(ECHO)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent)
        defer {
            tcsetattr(STDIN_FILENO, TCSAFLUSH, &settings)
            FileHandle.standardError.write(Data("\n".utf8))
        }
        return readLine(strippingNewline: true)
    }
}
