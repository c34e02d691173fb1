internal import Crypto
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// The document as it is served: bare, and with an ETag, since clients fetch it often and it never changes while we run.
struct OpenAPIFile: Sendable {
    static let contentType = "application/json"
    /// Clients may keep it, but must ask whether it is still the same.
    static let cacheControl = "no-cache"

    private let body: ByteBuffer
    private let etag: String

    init(_ document: OpenAPIDocument) {
        let bytes = document.bytes
        self.body = ByteBuffer(bytes: bytes)
        let digest = SHA256.hash(data: bytes).prefix(16)
        self.etag = "\"" + Base64URL.encode(Array(digest)) + "\""
    }

    func response(to call: Call<NoQuery, NoBody>) -> Response {
        var headers: HTTPFields = [.eTag: self.etag, .cacheControl: Self.cacheControl]
        if self.isFresh(call.headers[values: .ifNoneMatch]) {
            return Response(status: .notModified, headers: headers)
        }
        headers[.contentType] = Self.contentType
        return Response(status: .ok, headers: headers, body: HTTPResponseBody(byteBuffer: self.body))
    }

    /// RFC 9110 §13.1.2, by weak comparison.
    private func isFresh(_ headers: [String]) -> Bool {
        headers.flatMap { $0.split(separator: ",") }.contains { given in
            let tag = given.trimmingPrefix(while: \.isWhitespace).trimmingPrefix("W/")
            return tag == "*" || tag.prefix(self.etag.count) == self.etag
        }
    }
}
