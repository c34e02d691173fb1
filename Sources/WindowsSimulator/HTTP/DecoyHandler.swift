import NIOCore
import WinRM

/// Answers as something that is no Windows machine does.
final class DecoyHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Of a request's head; the rest is not looked at.
    private static let maximumRequest = 64 * 1_024

    private let decoy: Decoy
    private var request: [UInt8] = []
    private var hasAnswered = false

    init(_ decoy: Decoy) {
        self.decoy = decoy
    }

    func channelActive(context: ChannelHandlerContext) {
        if self.decoy == .sshServer { self.write("SSH-2.0-OpenSSH_9.6p1 Debian-4\r\n", context) }
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.hasAnswered, self.decoy == .webServer || self.decoy == .otherWSMan else { return }
        self.request += self.unwrapInboundIn(data).readableBytesView.prefix(Self.maximumRequest - self.request.count)
        let text = String(decoding: self.request, as: UTF8.self)
        guard text.contains("\r\n\r\n") || self.request.count == Self.maximumRequest else { return }
        // An answer before the request's body has come would be cut off by the reset of closing.
        if self.decoy == .otherWSMan, !text.contains("Envelope>"), !text.contains("Authorization:") { return }
        self.hasAnswered = true
        self.write(self.answer(to: text), context)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func answer(to request: String) -> String {
        let isIdentify = request.lowercased().contains("wsmanidentify: unauthenticated")
        guard self.decoy == .otherWSMan else {
            return Self.response("404 Not Found", [("Server", "nginx/1.24.0")], "<h1>404 Not Found</h1>")
        }
        guard isIdentify else {
            return Self.response("401 Unauthorized", [("WWW-Authenticate", #"Basic realm="OMI""#)], "")
        }
        let body = """
            <s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" \
            xmlns:wsmid="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"><s:Header/><s:Body>\
            <wsmid:IdentifyResponse>\
            <wsmid:ProtocolVersion>http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd</wsmid:ProtocolVersion>\
            <wsmid:ProductVendor>Open Management Infrastructure</wsmid:ProductVendor>\
            <wsmid:ProductVersion>1.9.1-0</wsmid:ProductVersion></wsmid:IdentifyResponse></s:Body></s:Envelope>
            """
        return Self.response("200 OK", [("Content-Type", SealedMultipart.soapContentType)], body)
    }

    private static func response(_ status: String, _ headers: [(String, String)], _ body: String) -> String {
        let fields = headers + [("Content-Length", "\(body.utf8.count)")]
        return "HTTP/1.1 \(status)\r\n" + fields.map { "\($0): \($1)\r\n" }.joined() + "\r\n" + body
    }

    private func write(_ text: String, _ context: ChannelHandlerContext) {
        context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
    }
}
