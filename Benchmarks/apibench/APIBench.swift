import ArgumentParser
import Foundation
import Hummingbird
import HummingbirdCore
import HummingbirdHTTP2
import Logging
import NIOCore
import NIOSSL

/// The least that a server of this kind can do: one route with a fixed answer and nothing around it, over TLS as the API
/// speaks it. `scripts/bench-api` compares nmslite with it.
@main
struct APIBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Answers GET / with one JSON body, over HTTP/1.1 and HTTP/2 with TLS, until SIGTERM."
    )

    @Option(help: "PEM file of the certificate chain.")
    var certificate: String
    @Option(help: "PEM file of the private key.")
    var key: String
    @Option(help: "File with the body of every answer.")
    var body: String
    @Option(help: "Port on 127.0.0.1.")
    var port: Int

    func run() async throws {
        let body = ByteBuffer(bytes: try Data(contentsOf: URL(filePath: self.body)))
        let router = Router()
        router.get("/") { _, _ in
            Response(
                status: .ok,
                headers: [.contentType: "application/json; charset=utf-8"],
                body: ResponseBody(byteBuffer: body)
            )
        }
        var logger = Logger(label: "apibench")
        logger.logLevel = .error
        let application = Application(
            router: router,
            server: try self.server(),
            configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: self.port), backlog: 1024),
            logger: logger
        )
        try await application.runService()
    }

    /// The API's TLS and HTTP versions; its guards against slow and hostile clients are part of what is compared.
    private func server() throws -> HTTPServerBuilder {
        let chain = try NIOSSLCertificate.fromPEMFile(self.certificate)
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: self.key, format: .pem))
        )
        tls.minimumTLSVersion = .tlsv12
        return try .http2Upgrade(tlsConfiguration: tls)
    }
}
