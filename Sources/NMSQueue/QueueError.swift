/// What can go wrong between NMSlite and its queue.
package enum QueueError: Error, Equatable, CustomStringConvertible {
    /// A setting that cannot work; names it, never a secret.
    case configuration(String)
    /// No server could be reached or signed in to. The servers are named without user information.
    case cannotConnect(servers: String, reason: String)
    /// The connection is gone for now; it reconnects by itself.
    case disconnected
    /// This queue was shut down.
    case closed
    /// No answer in time.
    case timeout(subject: String)
    /// Nobody answers: JetStream is off, not ready yet, or the stream or consumer is gone.
    case noResponders(subject: String)
    /// The stream has reached a limit and takes nothing more.
    case full(subject: String, reason: String)
    case payloadTooLarge(subject: String, bytes: Int, limit: Int)
    /// The server refused a JetStream request.
    case refused(subject: String, code: Int, description: String)
    /// Something answered that is not JetStream.
    case badAnswer(subject: String)
    case library(operation: String, reason: String)
    /// nats-server is not installed.
    case serverMissing

    package var description: String {
        switch self {
        case .configuration(let problem): problem
        case .cannotConnect(let servers, let reason): "cannot connect to NATS at \(servers): \(reason)"
        case .disconnected: "not connected to NATS at the moment"
        case .closed: "the connection to NATS is closed"
        case .timeout(let subject): "NATS did not answer in time on \(subject)"
        case .noResponders(let subject): "nothing in NATS answers on \(subject); is JetStream enabled?"
        case .full(let subject, let reason): "the queue takes no more on \(subject): \(reason)"
        case .payloadTooLarge(let subject, let bytes, let limit):
            "a message of \(bytes) bytes for \(subject) is over the limit of \(limit)"
        case .refused(let subject, let code, let description): "JetStream refused \(subject): \(description) (\(code))"
        case .badAnswer(let subject): "an answer on \(subject) is not JetStream's"
        case .library(let operation, let reason): "NATS: \(operation): \(reason)"
        case .serverMissing:
            "nats-server was not found on PATH or in the usual places; install it (Debian: apt install nats-server), "
                + "or set queue.embedded to false and queue.url to a server with JetStream"
        }
    }

    /// Whether the same request may work soon.
    var isTransient: Bool {
        switch self {
        case .disconnected, .timeout, .noResponders: true
        default: false
        }
    }
}
