/// Where a PostgreSQL server listens and how to sign in to it; descriptions never show the password.
package struct PostgresConfiguration: Sendable, Equatable {
    /// How far TLS is used and verified: the values of libpq's `sslmode`. UNIX sockets ignore it.
    package enum SSLMode: String, Sendable, CaseIterable {
        case disable, allow, prefer, require
        case verifyCA = "verify-ca"
        case verifyFull = "verify-full"
    }

    /// A host name, an address, or the absolute path of the directory that holds a UNIX socket.
    package var host: String
    package var port: Int
    package var database: String
    package var user: String
    /// nil leaves the choice to libpq (`~/.pgpass`) and the server (`peer`, `trust`).
    package var password: String?
    package var sslMode: SSLMode
    /// A file of PEM certificates to trust; nil means libpq's default.
    package var sslRootCertificate: String?
    /// How long making one connection may take.
    package var connectTimeout: Duration
    package var applicationName: String
    /// The longest that one statement may run; nil means no limit. Some seconds later a silent server counts as lost.
    package var statementTimeout: Duration?

    package init(
        host: String,
        port: Int = 5432,
        database: String,
        user: String,
        password: String? = nil,
        sslMode: SSLMode = .prefer,
        sslRootCertificate: String? = nil,
        connectTimeout: Duration = .seconds(10),
        applicationName: String = "",
        statementTimeout: Duration? = .seconds(30)
    ) {
        self.host = host
        self.port = port
        self.database = database
        self.user = user
        self.password = password
        self.sslMode = sslMode
        self.sslRootCertificate = sslRootCertificate
        self.connectTimeout = connectTimeout
        self.applicationName = applicationName
        self.statementTimeout = statementTimeout
    }

    /// libpq's keywords, in its own spelling.
    var keywords: [(keyword: String, value: String)] {
        var pairs = [
            ("host", self.host), ("port", String(self.port)), ("dbname", self.database), ("user", self.user),
            ("sslmode", self.sslMode.rawValue), ("client_encoding", "UTF8"),
            // A peer that vanished is noticed in about half a minute even while nothing is sent.
            ("keepalives_idle", "10"), ("keepalives_interval", "5"), ("keepalives_count", "4"),
            ("tcp_user_timeout", "30000"),
        ]
        if let password = self.password { pairs.append(("password", password)) }
        if let certificate = self.sslRootCertificate { pairs.append(("sslrootcert", certificate)) }
        if !self.applicationName.isEmpty { pairs.append(("application_name", self.applicationName)) }
        return pairs
    }
}

extension PostgresConfiguration: CustomStringConvertible, CustomReflectable {
    package var description: String { "\(self.user)@\(self.host):\(self.port)/\(self.database)" }

    package var customMirror: Mirror { Mirror(self, children: ["server": self.description]) }
}
