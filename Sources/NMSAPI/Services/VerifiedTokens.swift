internal import Synchronization

/// Tokens whose signature was checked, with their claims: a client sends the same one with every request.
///
/// Only what cannot change is remembered. Whether a token has expired and whether its session is alive is asked anew each
/// time.
final class VerifiedTokens: Sendable {
    /// Of some 800 bytes each.
    static let capacity = 1024

    private let claims = Mutex<[String: AccessClaims]>([:])

    var count: Int { self.claims.withLock { $0.count } }

    subscript(token: String) -> AccessClaims? { self.claims.withLock { $0[token] } }

    /// - Parameter now: seconds since 1970.
    func insert(_ token: String, _ claims: AccessClaims, now: Double) {
        self.claims.withLock { all in
            if all.count >= Self.capacity { all = all.filter { now < Double($0.value.exp) } }
            // More sessions than that at once: whoever asks most is remembered again first.
            if all.count >= Self.capacity { all.removeAll(keepingCapacity: true) }
            all[token] = claims
        }
    }
}
