internal import Hummingbird
internal import Logging
internal import NIOCore
internal import Synchronization

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
    private let value = Mutex<(requestID: String?, principal: Principal?)>((nil, nil))

    /// Made when it is first asked for, unless the client gave one.
    var requestID: String {
        get {
            self.value.withLock { value in
                if let id = value.requestID { return id }
                let id = RequestID.generate()
                value.requestID = id
                return id
            }
        }
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

    /// A random UUID. Foundation's opens the system's source of randomness anew for each one.
    static func generate() -> String {
        var generator = SystemRandomNumberGenerator()
        let (high, low): (UInt64, UInt64) = (generator.next(), generator.next())
        var bytes = withUnsafeBytes(of: (high, low), Array.init)
        // RFC 9562 §5.4: version 4, variant 10.
        bytes[6] = bytes[6] & 0x0F | 0x40
        bytes[8] = bytes[8] & 0x3F | 0x80
        let digits = Array("0123456789abcdef".utf8)
        return String(unsafeUninitializedCapacity: 36) { text in
            var index = 0
            for (number, byte) in bytes.enumerated() {
                if [4, 6, 8, 10].contains(number) {
                    text[index] = UInt8(ascii: "-")
                    index += 1
                }
                text[index] = digits[Int(byte >> 4)]
                text[index + 1] = digits[Int(byte & 0x0F)]
                index += 2
            }
            return index
        }
    }

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
