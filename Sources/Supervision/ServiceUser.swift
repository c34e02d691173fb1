package import Glibc

/// The user that child servers run as.
package struct ServiceUser: Sendable, Equatable {
    package let name: String
    package let uid: uid_t
    package let gid: gid_t

    package init(name: String, uid: uid_t, gid: gid_t) {
        self.name = name
        self.uid = uid
        self.gid = gid
    }

    /// Whether children run as somebody else than this process.
    package var isOther: Bool { self.uid != geteuid() }

    /// The user for children of this process: `name` when it runs as root, for servers refuse to; itself otherwise.
    /// - Throws: ``SupervisionError/userMissing(name:)`` or ``SupervisionError/userUnnamed(uid:)``.
    package static func forChildren(whenRoot name: String) throws -> ServiceUser {
        guard geteuid() == 0 else { return try self.current() }
        guard let user = self.look({ getpwnam_r(name, $0, $1, $2, $3) }) else {
            throw SupervisionError.userMissing(name: name)
        }
        return user
    }

    /// The user that this process runs as.
    /// - Throws: ``SupervisionError/userUnnamed(uid:)`` when the password database doesn't know it.
    package static func current() throws -> ServiceUser {
        let uid = geteuid()
        guard let user = self.look({ getpwuid_r(uid, $0, $1, $2, $3) }) else {
            throw SupervisionError.userUnnamed(uid: uid)
        }
        return ServiceUser(name: user.name, uid: uid, gid: getegid())
    }

    private typealias Lookup = (
        UnsafeMutablePointer<passwd>, UnsafeMutablePointer<CChar>, Int,
        UnsafeMutablePointer<UnsafeMutablePointer<passwd>?>
    ) -> Int32

    /// Room for one entry of the password database; those of directories such as LDAP can be long.
    private static let entrySize = 16384

    private static func look(_ lookup: Lookup) -> ServiceUser? {
        var entry = passwd()
        var result: UnsafeMutablePointer<passwd>?
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: self.entrySize) { buffer in
            guard let base = buffer.baseAddress, lookup(&entry, base, buffer.count, &result) == 0, result != nil,
                let name = entry.pw_name
            else { return nil }
            return ServiceUser(name: String(cString: name), uid: entry.pw_uid, gid: entry.pw_gid)
        }
    }
}
