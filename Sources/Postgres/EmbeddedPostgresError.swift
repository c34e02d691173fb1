/// What keeps an embedded PostgreSQL from running.
package enum EmbeddedPostgresError: Error, Equatable, CustomStringConvertible {
    case binariesMissing
    /// The data was written by another major version than the programs found.
    case otherMajorVersion(directory: String, data: String, found: [Int])
    /// There is something, but no cluster.
    case notACluster(directory: String)
    case initialisationFailed(reason: String, lastLines: [String])
    /// A role or database name that would need quoting.
    case invalidName(String)

    package var description: String {
        switch self {
        case .binariesMissing:
            return "PostgreSQL's server programs (postgres, initdb) were not found on PATH, through pg_config or under "
                + "/usr/lib/postgresql; install them (Debian: apt install postgresql), or configure an external server"
        case .otherMajorVersion(let directory, let data, let found):
            let versions = found.map(String.init).joined(separator: ", ")
            return "the database in \(directory) was written by PostgreSQL \(data), but only \(versions) is installed; "
                + "install PostgreSQL \(data), or move the data with pg_upgrade or pg_dump"
        case .notACluster(let directory):
            return "\(directory) is not empty and not a PostgreSQL database (it has no PG_VERSION); "
                + "restore it from a backup, or move it away to begin anew"
        case .initialisationFailed(let reason, let lastLines):
            return "initdb failed: \(reason): " + lastLines.joined(separator: " | ")
        case .invalidName(let name):
            return "'\(name)' cannot be the name of a role and database: lower-case letters, digits and _ only"
        }
    }
}
