import Logging
import ServiceLifecycle
import UnixSignals

/// SIGHUP: look at the certificate's files now. Trapped before anything else starts, so that it never ends the process.
struct HangupService: Service {
    private let signals: UnixSignalsSequence
    private let reloads: AsyncStream<Void>.Continuation?
    private let logger: Logger

    /// - Parameter reloads: told of each signal; nil where there is nothing to reload.
    init(reloads: AsyncStream<Void>.Continuation?, logger: Logger) async {
        self.signals = await UnixSignalsSequence(trapping: .sighup)
        self.reloads = reloads
        self.logger = logger
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            for await _ in self.signals {
                guard let reloads = self.reloads else {
                    self.logger.notice("SIGHUP: nothing to reload, this instance serves no TLS")
                    continue
                }
                self.logger.notice("SIGHUP: looking at the certificate's files")
                reloads.yield()
            }
        }
    }
}
