import NIOCore
import NIOHTTP1
package import SSP
import Synchronization

/// One connection to a host's WS-Management service, signed in once and kept.
///
/// One request at a time. Errors other than faults close it, since the next answer could be out of step; so does a
/// deadline that passes, and a cancelled task. Bytes of requests and answers live only as long as a call.
package actor WinRMConnection {
    /// How messages are protected after signing in.
    enum Protection {
        case notSignedIn
        /// The host's NTLM challenge is answered, but the answer is not sent yet.
        case challenged(NegotiateLogin, authorization: String)
        case basic(authorization: String)
        /// NTLM over plain HTTP: every body is sealed.
        case sealed(NTLMSession)
        /// NTLM over TLS: the connection is signed in, bodies are plain.
        case connectionBound
    }

    package nonisolated let endpoint: WinRMEndpoint
    package nonisolated let limits: WinRMLimits
    nonisolated let status: ConnectionStatus
    private nonisolated let channel: any Channel
    private nonisolated let handler: NIOLoopBound<HTTPHandler>
    /// Hash of the host's certificate, nil without TLS.
    nonisolated let certificateHash: [UInt8]?
    nonisolated let environment: NTLMEnvironment
    /// For tasks that make requests one after the other: on it they need no thread but the connection's own.
    package nonisolated let executor: EventLoopTaskExecutor

    var protection = Protection.notSignedIn
    /// Whether a request is in flight.
    private(set) var isBusy = false
    /// What the host said about itself while signing in with NTLM.
    package internal(set) var challengeInfo: NTLMChallengeInfo?

    init(
        endpoint: WinRMEndpoint,
        limits: WinRMLimits,
        status: ConnectionStatus,
        channel: any Channel,
        handler: NIOLoopBound<HTTPHandler>,
        certificateHash: [UInt8]?,
        environment: NTLMEnvironment
    ) {
        self.endpoint = endpoint
        self.limits = limits
        self.status = status
        self.channel = channel
        self.handler = handler
        self.certificateHash = certificateHash
        self.environment = environment
        self.executor = EventLoopTaskExecutor(channel.eventLoop)
    }

    /// Whether requests can still be sent. The host may close a connection at any moment, so a request can find it
    /// closed all the same (``WinRMError/connectionClosed``).
    package nonisolated var isOpen: Bool { self.status.isOpen.load(ordering: .acquiring) }

    package nonisolated var statistics: WinRMStatistics {
        WinRMStatistics(
            requests: self.status.requests.load(ordering: .relaxed),
            bytesSent: self.status.bytesSent.load(ordering: .relaxed),
            bytesReceived: self.status.bytesReceived.load(ordering: .relaxed)
        )
    }

    /// Closes the connection; whoever waits gets ``WinRMError/cancelled``.
    package func close() async {
        self.abandon(.cancelled)
        try? await self.channel.closeFuture.get()
    }

    /// Closes the connection without waiting for it; whoever waits gets ``WinRMError/cancelled``.
    package nonisolated func closeSoon() { self.abandon(.cancelled) }

    /// Closes the connection without waiting for it.
    nonisolated func abandon(_ error: WinRMError) {
        self.status.isOpen.store(false, ordering: .releasing)
        let handler = self.handler
        self.channel.eventLoop.execute { handler.value.fail(error) }
    }

    /// What the host's certificate says, whether it is trusted or not; nil without TLS, and once the connection is closed.
    package func peerCertificate() async -> CertificateSummary? {
        let handler = self.handler
        return try? await self.channel.eventLoop.submit { CertificateSummary(handler.value.peerCertificate()) }.get()
    }

    // MARK: - HTTP

    /// Sends one POST and waits for its answer.
    func post(
        _ body: [UInt8],
        contentType: String,
        headers: [(String, String)] = [],
        deadline: ContinuousClock.Instant,
        phase: WinRMError.Phase
    ) async throws(WinRMError) -> HTTPReply {
        guard !self.isBusy else { throw .misuse("a second request while one is in flight") }
        let remaining = ContinuousClock.now.duration(to: deadline)
        guard remaining > .zero else { throw .timedOut(phase) }
        self.isBusy = true
        defer { self.isBusy = false }
        var fields = HTTPHeaders([
            ("Host", self.endpoint.hostHeader), ("User-Agent", "WinRM"), ("Content-Type", contentType),
            ("Content-Length", String(body.count)),
        ])
        for (name, value) in headers { fields.add(name: name, value: value) }
        let call = HTTPCall(
            head: HTTPRequestHead(version: .http1_1, method: .POST, uri: self.endpoint.path, headers: fields),
            body: ByteBuffer(bytes: body),
            timeout: TimeAmount(remaining),
            phase: phase
        )
        let handler = self.handler
        let eventLoop = self.channel.eventLoop
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Result<HTTPReply, WinRMError>, Never>) in
                let send = { @Sendable in handler.value.send(call) { continuation.resume(returning: $0) } }
                if eventLoop.inEventLoop { send() } else { eventLoop.execute(send) }
            }
        } onCancel: {
            self.abandon(.cancelled)
        }
        return try result.get()
    }
}
