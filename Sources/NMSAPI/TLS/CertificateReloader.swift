internal import Logging
internal import NMSCore
internal import ServiceLifecycle
internal import Synchronization
internal import struct Foundation.Date

/// Serves the certificate that the files hold now: looks at them every ``checkInterval`` and whenever asked to
/// (SIGHUP).
///
/// New connections get the new certificate, open ones go on with theirs. Files that can't be used change nothing.
///
/// Not `TimedCertificateReloader` of swift-nio-extras: that one takes every block of a key file for the key (OpenSSL
/// writes "EC PARAMETERS" before it), takes expired certificates, and overrides the certificate inside of one TLS
/// context, so that sessions are resumed past the change.
final class CertificateReloader: Service, Sendable {
    static let checkInterval: Duration = .seconds(5)
    static let expiryCheckInterval: Duration = .seconds(86_400)

    private struct State {
        var watch: CertificateWatch
        var pair: CertificatePair
    }

    private let tls: APIConfiguration.TLS
    private let requests: AsyncStream<Void>?
    private let now: @Sendable () -> Date
    private let logger: Logger
    private let state: Mutex<State>
    private let use = Mutex<(@Sendable (CertificatePair) throws -> Void)?>(nil)

    /// - Parameter requests: each element asks to look at once.
    /// - Throws: ``APIConfigurationError`` when the files can't be used at the start.
    init(
        tls: APIConfiguration.TLS,
        requests: AsyncStream<Void>?,
        now: @escaping @Sendable () -> Date,
        logger: Logger
    ) throws(APIConfigurationError) {
        let contents = CertificateContents(readFrom: tls)
        let pair = try contents.pair(now: now())
        self.tls = tls
        self.requests = requests
        self.now = now
        self.logger = logger
        self.state = Mutex(State(watch: CertificateWatch(current: contents.digest), pair: pair))
    }

    /// What is served now.
    var pair: CertificatePair { self.state.withLock { $0.pair } }

    /// Names who puts a new certificate to use. What it throws counts as a failure of the files.
    func onChange(_ use: @escaping @Sendable (CertificatePair) throws -> Void) {
        self.use.withLock { $0 = use }
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await self.follow() }
                group.addTask { await self.watch() }
                group.addTask { await self.warn() }
            }
        }
    }

    private func follow() async {
        guard let requests = self.requests else { return }
        for await _ in requests { self.check(isForced: true) }
    }

    private func watch() async {
        while (try? await Task.sleep(for: Self.checkInterval)) != nil { self.check(isForced: false) }
    }

    private func warn() async {
        repeat { self.warnOfExpiry() } while (try? await Task.sleep(for: Self.expiryCheckInterval)) != nil
    }

    /// Looks at the files and takes them when they are new and good.
    ///
    /// - Parameter isForced: someone asked and wants an answer in the log, whatever it is.
    func check(isForced: Bool) {
        let contents = CertificateContents(readFrom: self.tls)
        // One look at a time: a request and the timer may meet.
        self.state.withLock { state in
            guard state.watch.shouldTry(contents.digest, isForced: isForced) else { return }
            do {
                let pair = try contents.pair(now: self.now())
                try self.use.withLock { try $0?(pair) }
                state.watch.succeeded(contents.digest)
                state.pair = pair
                self.logger.notice(
                    "certificate loaded: new connections get it",
                    metadata: [
                        "file": "\(self.tls.certificatePath)",
                        "sha256": "\(pair.fingerprint)",
                        "not_after": "\(RFC3339.string(from: pair.notValidAfter))",
                    ]
                )
            } catch {
                guard state.watch.failed(contents.digest, isForced: isForced) else { return }
                self.logger.error(
                    "certificate not loaded: the old one stays in use until the files are good",
                    metadata: ["error": "\(error)", "sha256": "\(state.pair.fingerprint)"]
                )
            }
        }
    }

    func warnOfExpiry() {
        let pair = self.pair
        guard let days = pair.daysToWarnOf(now: self.now()) else { return }
        self.logger.warning(
            "the certificate is about to expire: replace its files, no restart is needed",
            metadata: [
                "file": "\(self.tls.certificatePath)",
                "days_left": "\(days)",
                "not_after": "\(RFC3339.string(from: pair.notValidAfter))",
            ]
        )
    }
}
