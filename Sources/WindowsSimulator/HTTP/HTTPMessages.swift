import NIOCore
import NIOHTTP1

/// A request with its whole body.
struct HTTPRequest: Sendable {
    var head: HTTPRequestHead
    var body: [UInt8]

    func header(_ name: String) -> String? { self.head.headers.first(name: name) }

    /// The path without its query, in lower case: HTTP.sys compares without case.
    var path: String {
        String(self.head.uri.prefix { $0 != "?" }).lowercased()
    }
}

/// An answer before it is bytes.
struct HTTPAnswer: Sendable {
    var status: Int
    var headers: [(String, String)] = []
    var body: [UInt8] = []
    var closes = false
    /// Whether the body goes out in chunks.
    var isChunked = false

    private static let reasons: [Int: String] = [
        200: "", 400: "Bad Request", 401: "", 404: "Not Found", 405: "", 411: "Length Required",
        413: "Request Entity Too Large", 500: "", 503: "Service Unavailable",
    ]

    /// Bytes of a chunk.
    private static let chunkSize = 4_096

    /// Status line, headers and body as HTTP.sys writes them.
    func encoded(date: String, allocator: ByteBufferAllocator) -> ByteBuffer {
        var buffer = allocator.buffer(capacity: self.body.count + 512)
        buffer.writeString("HTTP/1.1 \(self.status) \(Self.reasons[self.status] ?? "")\r\n")
        for (name, value) in self.headers { buffer.writeString("\(name): \(value)\r\n") }
        buffer.writeString("Server: Microsoft-HTTPAPI/2.0\r\nDate: \(date)\r\n")
        if self.closes { buffer.writeString("Connection: close\r\n") }
        guard self.isChunked, !self.body.isEmpty else {
            buffer.writeString("Content-Length: \(self.body.count)\r\n\r\n")
            buffer.writeBytes(self.body)
            return buffer
        }
        buffer.writeString("Transfer-Encoding: chunked\r\n\r\n")
        var start = 0
        while start < self.body.count {
            let end = min(start + Self.chunkSize, self.body.count)
            buffer.writeString(String(end - start, radix: 16) + "\r\n")
            buffer.writeBytes(self.body[start..<end])
            buffer.writeString("\r\n")
            start = end
        }
        buffer.writeString("0\r\n\r\n")
        return buffer
    }
}
