internal import Foundation
internal import Glibc
internal import Supervision

/// A directory with PostgreSQL's server programs.
struct EmbeddedPostgresBinaries: Sendable, Equatable {
    var directory: String
    var majorVersion: Int

    var postgres: String { self.directory + "/postgres" }
    var initdb: String { self.directory + "/initdb" }

    /// The candidate to use: one of the data's version when there is data, otherwise the first.
    static func choose(from found: [EmbeddedPostgresBinaries], dataVersion: Int?) -> EmbeddedPostgresBinaries? {
        guard let dataVersion else { return found.first }
        return found.first { $0.majorVersion == dataVersion }
    }

    /// `postgres (PostgreSQL) 15.18 (Debian …)` → 15.
    static func majorVersion(in text: String) -> Int? {
        guard let range = text.range(of: "(PostgreSQL) ") else { return nil }
        return Int(text[range.upperBound...].prefix { $0.isNumber })
    }

    /// Directories to look into, best first: PATH, what `pg_config` says, Debian's and Red Hat's places (newest first).
    static func candidates(path: String, configured: String?, listing: (String) -> [String]) -> [String] {
        let onPath = path.split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
        let debian = listing("/usr/lib/postgresql").compactMap { name in Double(name).map { ($0, name) } }
            .sorted { $0.0 > $1.0 }.map { "/usr/lib/postgresql/\($0.1)/bin" }
        let redHat = listing("/usr").filter { $0.hasPrefix("pgsql-") }.sorted().reversed().map { "/usr/\($0)/bin" }
        return onPath + (configured.map { [$0] } ?? []) + debian + redHat
    }

    /// Every usable directory, best first.
    static func find(
        preferring directory: String?,
        user: ServiceUser,
        guardExecutable: GuardExecutable
    ) async throws -> [EmbeddedPostgresBinaries] {
        let path = getenv("PATH").map { String(cString: $0) } ?? ""
        var directories = directory.map { [$0] } ?? []
        if directory == nil {
            let configured = try await self.configuredDirectory(
                path: path,
                user: user,
                guardExecutable: guardExecutable
            )
            directories = self.candidates(path: path, configured: configured) { parent in
                (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? []
            }
        }
        var found: [EmbeddedPostgresBinaries] = []
        for candidate in directories {
            // A link such as /usr/local/bin/initdb leads to the directory that holds the other programs too.
            guard let initdb = self.resolved(candidate + "/initdb") else { continue }
            let directory = (initdb as NSString).deletingLastPathComponent
            guard access(directory + "/postgres", X_OK) == 0, !found.contains(where: { $0.directory == directory })
            else { continue }
            let lines = try await self.output(
                of: directory + "/postgres",
                ["--version"],
                user: user,
                guardExecutable: guardExecutable
            )
            guard let version = lines.lazy.compactMap({ self.majorVersion(in: $0) }).first else { continue }
            found.append(EmbeddedPostgresBinaries(directory: directory, majorVersion: version))
        }
        return found
    }

    private static func configuredDirectory(
        path: String,
        user: ServiceUser,
        guardExecutable: GuardExecutable
    ) async throws -> String? {
        let places = path.split(separator: ":").map { String($0) + "/pg_config" }
        guard let program = places.first(where: { $0.hasPrefix("/") && access($0, X_OK) == 0 }) else { return nil }
        return try await self.output(of: program, ["--bindir"], user: user, guardExecutable: guardExecutable).first
    }

    private static func output(
        of program: String,
        _ arguments: [String],
        user: ServiceUser,
        guardExecutable: GuardExecutable
    ) async throws -> [String] {
        let configuration = ChildConfiguration(
            name: "postgres-version",
            executable: program,
            arguments: arguments,
            user: user
        )
        let (exit, lines) = try await ChildProcess.run(configuration, guardExecutable: guardExecutable)
        return exit.isSuccess ? lines : []
    }

    private static func resolved(_ path: String) -> String? {
        guard access(path, X_OK) == 0, let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }
}
