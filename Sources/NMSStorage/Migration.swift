internal import Crypto

/// One numbered step of the schema, from `migrations/` at the top level.
package struct Migration: Sendable, Equatable {
    package let version: Int
    package let name: String
    let up: String
    let down: String

    /// SHA-256 of what ``up`` does, in hexadecimal.
    var checksum: String {
        SHA256.hash(data: Array(self.up.utf8)).map { byte in
            let digits = String(byte, radix: 16)
            return byte < 16 ? "0" + digits : digits
        }.joined()
    }

    init(version: Int, name: String, up: String, down: String) {
        self.version = version
        self.name = name
        self.up = up
        self.down = down
    }

    private init(version: Int, name: String, up: [UInt8], down: [UInt8]) {
        self.init(
            version: version,
            name: name,
            up: String(decoding: up, as: UTF8.self),
            down: String(decoding: down, as: UTF8.self)
        )
    }

    /// Every migration of this binary, ascending. Append only.
    package static let all: [Migration] = [
        Migration(
            version: 1,
            name: "init_schema",
            up: PackageResources._00001_init_schema_up_sql,
            down: PackageResources._00001_init_schema_down_sql
        ),
        Migration(
            version: 2,
            name: "metrics_hourly",
            up: PackageResources._00002_metrics_hourly_up_sql,
            down: PackageResources._00002_metrics_hourly_down_sql
        ),
        Migration(
            version: 3,
            name: "audit",
            up: PackageResources._00003_audit_up_sql,
            down: PackageResources._00003_audit_down_sql
        ),
        Migration(
            version: 4,
            name: "discoveries",
            up: PackageResources._00004_discoveries_up_sql,
            down: PackageResources._00004_discoveries_down_sql
        ),
        Migration(
            version: 5,
            name: "partition_leases",
            up: PackageResources._00005_partition_leases_up_sql,
            down: PackageResources._00005_partition_leases_down_sql
        ),
        Migration(
            version: 6,
            name: "master_keys",
            up: PackageResources._00006_master_keys_up_sql,
            down: PackageResources._00006_master_keys_down_sql
        ),
    ]
}
