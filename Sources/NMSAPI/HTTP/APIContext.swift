internal import Hummingbird
internal import Logging
internal import NIOCore
internal import Synchronization
internal import struct Foundation.UUID

/// What travels with one request.
struct APIContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// The client's address without port; `unknown` when the transport has none.
    let remoteAddress: String
    let client: ClientPresence
    let state: RequestState

    init(source: ApplicationRequestContextSource) {
        self.coreContext = CoreRequestContextStorage(source: source)
        self.remoteAddress = source.channel.remoteAddress?.ipAddress ?? "unknown"
        self.client = ClientPresence(channel: source.channel)
        self.state = RequestState()
    }
}

/// What inner layers find out and outer ones (log, headers) want to know; a context is copied on the way in.
final class RequestState: Sendable {
    private let value = Mutex<(requestID: String, principal: Principal?)>((RequestID.generate(), nil))

    var requestID: String {
        get { self.value.withLock { $0.requestID } }
        set { self.value.withLock { $0.requestID = newValue } }
    }

    var principal: Principal? {
        get { self.value.withLock { $0.principal } }
        set { self.value.withLock { $0.principal = newValue } }
    }
}

/// `X-Request-ID`.
enum RequestID {
    static let headerName = "x-request-id"
    static let maximumLength = 128

    static func generate() -> String { UUID().uuidString.lowercased() }

    /// The client's own id when it is sane: 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
    static func accepted(_ text: String) -> String? {
        guard (1...self.maximumLength).contains(text.utf8.count) else { return nil }
        let isSane = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
        return isSane ? text : nil
    }
}
