/// Why NMSlite cannot start, other than its configuration's text: a file, directory or certificate that is not right.
package struct StartError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file or directory.
    package let path: String
    /// What is wrong, as a clause.
    package let problem: String
    /// What to do, as a sentence.
    package let remedy: String

    /// `<path>: <problem>. <remedy>`; never anything of a file's content.
    package var description: String { "\(self.path): \(self.problem). \(self.remedy)" }
}
