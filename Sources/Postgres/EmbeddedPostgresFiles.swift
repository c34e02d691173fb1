internal import Foundation

/// Where an embedded cluster keeps what, and what stands in the files. Pure.
struct EmbeddedPostgresFiles: Sendable, Equatable {
    /// Mode 0700, the server user's.
    var directory: String
    var socketDirectory: String
    var port: Int

    var data: String { self.directory + "/data" }
    var version: String { self.data + "/PG_VERSION" }
    var hostBasedAuthentication: String { self.directory + "/pg_hba.conf" }
    var identities: String { self.directory + "/pg_ident.conf" }
    var socket: String { Self.socket(in: self.socketDirectory, port: self.port) }

    /// `initdb` works here; a whole cluster is renamed to ``data``.
    static let unfinishedPrefix = "data.new-"
    /// `sun_path` holds 108 bytes with the final NUL (unix(7)).
    static let socketPathLimit = 107

    static func socket(in directory: String, port: Int) -> String { "\(directory)/.s.PGSQL.\(port)" }

    /// Whether server and libpq can use a socket in `directory`; libpq takes a comma for the end of a host.
    static func fits(socketIn directory: String, port: Int) -> Bool {
        self.socket(in: directory, port: port).utf8.count <= self.socketPathLimit && !directory.contains(",")
    }

    /// Sign-in by the UNIX user alone, over the socket alone.
    static let hostBasedAuthenticationText = """
        # Written at every start.
        local all all peer map=owner

        """

    /// Who may be which role: every one of `users` may be every one of `roles`.
    static func identitiesText(users: [String], roles: [String]) -> String {
        var seen: Set<String> = []
        let lines = users.filter { seen.insert($0).inserted }.flatMap { user in
            roles.map { "owner \(self.quoted(user)) \(self.quoted($0))" }
        }
        return "# Written at every start.\n" + lines.joined(separator: "\n") + "\n"
    }

    private static func quoted(_ name: String) -> String {
        "\"" + name.replacing("\"", with: "\"\"") + "\""
    }

    /// Added to a new cluster's postgresql.conf, where an administrator can change it.
    static let initialSettings = """

        # For a small server. Changes survive.
        max_connections = 100
        shared_buffers = 128MB
        wal_compression = on
        max_wal_size = 1GB
        min_wal_size = 80MB
        checkpoint_completion_target = 0.9
        jit = off

        """

    /// The server's command line: what NMSlite's safety rests on, which no file overrides.
    var arguments: [String] {
        // A list of directories; a quoted one may hold commas and blanks.
        let socketDirectories = "\"" + self.socketDirectory.replacing("\"", with: "\"\"") + "\""
        let settings = [
            ("listen_addresses", ""),
            ("unix_socket_directories", socketDirectories),
            ("unix_socket_permissions", "0700"),
            ("port", "\(self.port)"),
            ("hba_file", self.hostBasedAuthentication),
            ("ident_file", self.identities),
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("ssl", "off"),
            ("timezone", "UTC"),
            // To standard error, for the supervisor; without statements and DETAIL, which hold values of rows.
            ("logging_collector", "off"),
            ("log_destination", "stderr"),
            ("log_line_prefix", ""),
            ("log_timezone", "UTC"),
            ("log_error_verbosity", "terse"),
            ("log_min_error_statement", "panic"),
            ("log_statement", "none"),
        ]
        return ["-D", self.data] + settings.flatMap { ["-c", "\($0.0)=\($0.1)"] }
    }

    /// A short name for a directory that does not change between starts (FNV-1a, 64 bits).
    static func hash(of path: String) -> String {
        let value = path.utf8.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
