import Foundation

/// The number of file descriptors that this process may have: one for each connection to a host or client.
///
/// Everybody's share is bounded, so that the limit is never reached: libdispatch ends a process that has no descriptor
/// left. Clients get a quarter at most, polls under way and discovery an eighth each, database, queue and files another
/// one; the rest is for connections that wait for their next poll.
enum DescriptorLimit {
    /// What everything but kept connections to hosts and clients needs at most.
    static let reserve = 4096
    private static let clientShare = 4
    /// Of polls, each with two descriptors at most.
    private static let pollShare = 16

    /// Raises the soft limit to the hard one; login shells and systemd often set the soft one to 1,024.
    /// - Returns: the limit that holds now.
    static func raise() -> Int {
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        guard getrlimit(resource, &limit) == 0 else { return 1024 }
        if limit.rlim_cur < limit.rlim_max {
            var raised = limit
            raised.rlim_cur = limit.rlim_max
            if setrlimit(resource, &raised) == 0 { limit = raised }
        }
        return Int(clamping: limit.rlim_cur)
    }

    /// How many connections clients of the API may have, of those that are wanted.
    static func clientConnections(wanted: Int, limit: Int) -> Int { min(wanted, limit / self.clientShare) }

    /// How many polls may be under way, of those that are wanted.
    static func polls(wanted: Int, limit: Int) -> Int { min(wanted, max(8, limit / self.pollShare)) }

    /// How many idle connections to hosts fit, of those that are wanted, beside `clients`.
    static func idleConnections(wanted: Int, clients: Int, limit: Int) -> Int {
        min(wanted, limit - clients - min(self.reserve, limit * 3 / 8))
    }
}
