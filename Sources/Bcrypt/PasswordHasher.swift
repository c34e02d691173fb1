internal import Dispatch
internal import Synchronization

/// Hashes and checks passwords with bcrypt (specification §8.5), away from event loops and the cooperative pool.
///
/// One hash at cost 12 takes about a quarter of a second of one core. At most `width` run at a time, and at most
/// `pendingLimit` wait: more are refused with ``BcryptError/busy`` instead of piling up.
package struct PasswordHasher: Sendable {
    /// What bcrypt reads of a password, in bytes of UTF-8.
    package static let maximumPasswordBytes = 72
    /// The costs that bcrypt knows.
    package static let costRange = 4...31

    /// The base-2 logarithm of the rounds of new hashes.
    package let cost: Int
    private let lanes: Lanes

    /// - Parameters:
    ///   - cost: 4…31; 12 unless configured otherwise.
    ///   - width: how many hashes may run at a time, at least 1.
    ///   - pendingLimit: how many may run or wait.
    /// - Throws: ``BcryptError/unsupportedCost(_:)``.
    package init(cost: Int, width: Int = 2, pendingLimit: Int = 32) throws(BcryptError) {
        guard Self.costRange.contains(cost) else { throw .unsupportedCost(cost) }
        self.cost = cost
        self.lanes = Lanes(count: max(1, width), limit: pendingLimit)
    }

    /// The hash of a password, with a new salt: 60 characters that begin with `$2b$`.
    ///
    /// - Throws: ``BcryptError`` for a password that bcrypt can't take whole, and ``BcryptError/busy``.
    package func hash(_ password: String) async throws(BcryptError) -> String {
        if let refusal = Self.refusal(of: password) { throw refusal }
        let cost = self.cost
        return try await self.lanes.run { () -> Result<String, BcryptError> in
            var bytes = Array(password.utf8)
            do throws(BcryptError) {
                return .success(try Crypt.hash(&bytes, cost: cost))
            } catch {
                return .failure(error)
            }
        }.get()
    }

    /// Whether `password` is the one that `hash` was made of; false for a malformed hash, too.
    ///
    /// - Throws: ``BcryptError/busy`` only.
    package func verify(_ password: String, against hash: String) async throws(BcryptError) -> Bool {
        guard Self.refusal(of: password) == nil else { return false }
        return try await self.lanes.run {
            var bytes = Array(password.utf8)
            return Crypt.verify(&bytes, against: hash)
        }
    }

    /// Whether `hash` was made with another cost or an older variant than new ones are.
    package func needsRehash(_ hash: String) -> Bool {
        Crypt.cost(of: hash) != self.cost || !hash.hasPrefix(Crypt.prefix)
    }

    /// Why a password can't be used; nil when it can.
    package static func refusal(of password: String) -> BcryptError? {
        let bytes = password.utf8.count
        if bytes == 0 { return .passwordEmpty }
        if bytes > Self.maximumPasswordBytes { return .passwordTooLong(bytes: bytes) }
        return password.utf8.contains(0) ? .passwordContainsNUL : nil
    }
}

/// A few serial dispatch queues; work goes to the one with the least to do.
private final class Lanes: Sendable {
    private let queues: [DispatchQueue]
    private let limit: Int
    private let pending: Mutex<[Int]>

    init(count: Int, limit: Int) {
        self.queues = (0..<count).map { DispatchQueue(label: "bcrypt-\($0)", qos: .userInitiated) }
        self.limit = max(1, limit)
        self.pending = Mutex(Array(repeating: 0, count: count))
    }

    func run<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async throws(BcryptError) -> Value {
        let lane = self.pending.withLock { pending -> Int? in
            guard pending.reduce(0, +) < self.limit,
                let lane = pending.indices.min(by: { pending[$0] < pending[$1] })
            else { return nil }
            pending[lane] += 1
            return lane
        }
        guard let lane else { throw .busy }
        return await withCheckedContinuation { continuation in
            self.queues[lane].async {
                let value = work()
                self.pending.withLock { $0[lane] -= 1 }
                continuation.resume(returning: value)
            }
        }
    }
}
