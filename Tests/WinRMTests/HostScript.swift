import NIOPosix
import SSP
import Synchronization

@testable import WinRM

/// A host that signs clients in with NTLM and answers sealed or plain messages, with SSP's acceptor.
final class NTLMHost: Sendable {
    static let username = "poller"
    static let password = "Pass-w0rd!"

    private struct Client {
        var acceptor: SPNEGOAcceptor
        var session: NTLMSession?
    }

    private let clients = Mutex<[Int: Client]>([:])
    private let bindings: ChannelBindings?
    private let seals: Bool
    private let wraps: Bool
    /// Gets each decrypted envelope with its number on the connection; gives the answer's status and envelope.
    private let answer: @Sendable (_ request: Int, _ envelope: String) -> (status: String, envelope: [UInt8])

    init(
        bindings: ChannelBindings? = nil,
        seals: Bool = true,
        wraps: Bool = false,
        answer: @escaping @Sendable (Int, String) -> (status: String, envelope: [UInt8])
    ) {
        self.bindings = bindings
        self.seals = seals
        self.wraps = wraps
        self.answer = answer
    }

    /// To be called as a `LoopbackServer`'s script.
    func respond(_ connection: Int, _ index: Int, _ request: RecordedRequest) -> ServerAction {
        do {
            if let authorization = request.header("Authorization") {
                return try self.signIn(connection, authorization)
            }
            return try self.serve(connection, index - 2, request)
        } catch {
            return Self.unauthorized
        }
    }

    static let unauthorized = ServerAction.response("401 ", ["WWW-Authenticate: Negotiate", "Connection: close"])

    private func signIn(_ connection: Int, _ authorization: String) throws -> ServerAction {
        guard let token = Base64.decode(authorization.dropFirst("Negotiate ".count)) else { return Self.unauthorized }
        return try self.clients.withLock { clients in
            var client =
                clients[connection]
                ?? Client(
                    acceptor: SPNEGOAcceptor(
                        ntlm: NTLMAcceptor(
                            configuration: .init(
                                netbiosComputerName: "SRV01",
                                netbiosDomainName: "FABRIKAM",
                                dnsComputerName: "srv01.fabrikam.example",
                                dnsDomainName: "fabrikam.example",
                                requiredChannelBindings: self.bindings,
                                requireMIC: true
                            )
                        )
                    )
                )
            defer { clients[connection] = client }
            let raw = SPNEGO.isRawNTLM(token) ? token : try NegTokenResp(parsing: token).responseToken ?? []
            switch try client.acceptor.step(raw, lookup: { user, _ in user == Self.username ? Self.password : nil }) {
            case .continue(let challenge):
                let sent =
                    self.wraps
                    ? NegTokenResp(state: .acceptIncomplete, supportedMech: .ntlm, responseToken: challenge).encoded()
                    : challenge
                return .response("401 ", ["WWW-Authenticate: Negotiate \(Base64.encode(sent))"])
            case .complete(_, _, _, let session):
                client.session = session
                return .response("200 ")
            }
        }
    }

    private func serve(_ connection: Int, _ index: Int, _ request: RecordedRequest) throws -> ServerAction {
        try self.clients.withLock { clients in
            guard var session = clients[connection]?.session else { return Self.unauthorized }
            guard self.seals else {
                let (status, envelope) = self.answer(index, request.body.text)
                return .response(status, envelope)
            }
            let part = try SealedMultipart.decode(request.body)
            let envelope = try session.unseal(part.ciphertext, signature: part.signature)
            let (status, answer) = self.answer(index, envelope.text)
            let (signature, ciphertext) = try session.seal(answer)
            clients[connection]?.session = session
            let body = SealedMultipart(signature: signature, ciphertext: ciphertext).encoded()
            return .response(status, type: SealedMultipart.contentType, body)
        }
    }
}

/// Connects to a loopback server and signs in.
func withConnection<Value>(
    port: Int,
    tls: TLSSettings? = nil,
    limits: WinRMLimits = WinRMLimits(),
    connector: WinRMConnector? = nil,
    signIn authentication: WinRMAuthentication? = .basic(username: "u", password: "p", allowUnencrypted: true),
    body: (WinRMConnection) async throws -> Value
) async throws -> Value {
    let connector = connector ?? WinRMConnector(group: .singletonMultiThreadedEventLoopGroup, limits: limits)
    let endpoint = WinRMEndpoint(address: "127.0.0.1", port: port, tls: tls)
    let connection = try await connector.connect(to: endpoint, deadline: .now + .seconds(60))
    do {
        if let authentication {
            try await connection.authenticate(authentication, deadline: .now + .seconds(60))
        }
        let value = try await body(connection)
        await connection.close()
        return value
    } catch {
        await connection.close()
        throw error
    }
}

/// The error that `body` throws, nil if none.
func failure(_ body: () async throws -> some Any) async -> WinRMError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? WinRMError
    }
}

extension ContinuousClock.Instant {
    /// Long enough that only a hanging test meets it.
    static var soon: ContinuousClock.Instant { .now + .seconds(60) }
}

let ntlm = WinRMAuthentication.ntlm(username: NTLMHost.username, password: NTLMHost.password, domain: "FABRIKAM")
