import Foundation

/// The number of file descriptors that this process may have: one for each connection to a host or client.
enum DescriptorLimit {
    /// What everything but kept connections to hosts and clients may need: database, queue, polls that are under way.
    static let reserve = 1024
    /// Clients and the reserve get at most a quarter each, so that half is left for hosts.
    private static let share = 4

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
    static func clientConnections(wanted: Int, limit: Int) -> Int { min(wanted, limit / self.share) }

    /// How many idle connections to hosts fit, of those that are wanted, beside `clients`.
    static func idleConnections(wanted: Int, clients: Int, limit: Int) -> Int {
        min(wanted, limit - clients - min(self.reserve, limit / self.share))
    }
}
