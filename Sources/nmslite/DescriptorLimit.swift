import Foundation

/// The number of file descriptors that this process may have: one for each connection to a host or client.
enum DescriptorLimit {
    /// What everything but kept connections to hosts may need: clients, database, polls that are under way.
    static let reserve = 2048
    /// Of a limit too small for the reserve, this share is for kept connections.
    private static let share = 2

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

    /// How many idle connections fit, of those that are wanted.
    static func idleConnections(wanted: Int, limit: Int) -> Int {
        min(wanted, limit > self.share * self.reserve ? limit - self.reserve : limit / self.share)
    }
}
