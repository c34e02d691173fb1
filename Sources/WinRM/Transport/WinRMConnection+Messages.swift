import NIOCore
import NIOHTTP1
import SSP

/// Signing in, and SOAP messages in whatever protection was agreed on.
extension WinRMConnection {
    // MARK: - Signing in

    /// Does the part of signing in that needs no password: gets an NTLM host's challenge. Nothing for Basic.
    ///
    /// ``authenticate(_:deadline:)`` does it by itself; apart from it, whoever guards sign-ins need not guard against
    /// hosts that never answer.
    package func requestChallenge(
        for authentication: WinRMAuthentication,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) {
        guard case .notSignedIn = self.protection else { throw .misuse("signing in twice on one connection") }
        guard case .ntlm(let username, let password, let domain) = authentication else { return }
        let credential = Self.credential(username: username, password: password, domain: domain)
        do throws(WinRMError) {
            try await self.challenge(credential, deadline: deadline)
        } catch {
            self.abandon(error)
            throw error
        }
    }

    /// Signs in. For Basic this sends an `Identify`, since only an answer proves the login.
    ///
    /// - Throws: `.authenticationFailed` (do not try again), `.noCommonScheme`, `.encryptionRequired`,
    ///   `.unencryptedBasicRefused` (nothing was sent), `.httpStatus`, and the errors of every request.
    package func authenticate(
        _ authentication: WinRMAuthentication,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) {
        if case .notSignedIn = self.protection {
            try await self.requestChallenge(for: authentication, deadline: deadline)
        }
        do throws(WinRMError) {
            switch (authentication, self.protection) {
            case (.basic(let username, let password, let allowUnencrypted), .notSignedIn):
                guard self.endpoint.tls != nil || allowUnencrypted else { throw .unencryptedBasicRefused }
                let authorization = "Basic " + Base64.encode(Array("\(username):\(password)".utf8))
                try await self.proveBasic(authorization, deadline: deadline)
            case (.ntlm, .challenged(var login, let authorization)):
                let second = try await self.sendLogin(authorization, deadline: deadline)
                let session = try login.finish(second)
                self.protection = self.endpoint.tls == nil ? .sealed(session) : .connectionBound
            default:
                throw .misuse("signing in twice on one connection")
            }
        } catch {
            if case .misuse = error { throw error }
            self.abandon(error)
            throw error
        }
    }

    /// Takes `DOMAIN\user` apart where no domain is given.
    private static func credential(username: String, password: String, domain: String) -> NTLMCredential {
        let parts = username.split(separator: "\\", maxSplits: 1, omittingEmptySubsequences: false)
        guard domain.isEmpty, parts.count == 2 else {
            return NTLMCredential(username: username, password: password, domain: domain)
        }
        return NTLMCredential(username: String(parts[1]), password: password, domain: String(parts[0]))
    }

    private func challenge(_ credential: NTLMCredential, deadline: ContinuousClock.Instant) async throws(WinRMError) {
        var login = NegotiateLogin(
            credential: credential,
            channelBindings: self.certificateHash.map { ChannelBindings.tlsServerEndPoint(certificateHash: $0) },
            environment: self.environment
        )
        let first = try await self.sendLogin(login.start(), deadline: deadline)
        let authorization = try login.answer(first)
        self.challengeInfo = login.challengeInfo
        guard self.isOpen else {
            throw .protocolViolation("the host closed the connection between the login's messages")
        }
        self.protection = .challenged(login, authorization: authorization)
    }

    private func sendLogin(
        _ authorization: String,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) -> HTTPReply {
        try await self.post(
            [],
            contentType: SealedMultipart.soapContentType,
            headers: [("Authorization", authorization)],
            deadline: deadline,
            phase: .authenticating
        )
    }

    private func proveBasic(_ authorization: String, deadline: ContinuousClock.Instant) async throws(WinRMError) {
        let reply = try await self.post(
            WSManRequest.identify(),
            contentType: SealedMultipart.soapContentType,
            headers: [("Authorization", authorization)],
            deadline: deadline,
            phase: .authenticating
        )
        let isPlain = self.endpoint.tls == nil
        switch reply.status {
        case 200:
            _ = try self.decode { () throws(WSManReplyError) in
                try WSManReply.identify(reply.bodyBytes, limits: self.limits.xml)
            }
            self.protection = .basic(authorization: authorization)
        case 401:
            let challenges = HTTPChallenges(reply.headers["WWW-Authenticate"])
            if challenges.offers("Basic") { throw .authenticationFailed("") }
            if isPlain { throw .encryptionRequired(Self.noPlainBasic) }
            throw .noCommonScheme(offered: challenges.schemes)
        default:
            if let fault = Self.fault(in: reply, limits: self.limits) { throw .fault(fault) }
            if reply.status == 500, isPlain { throw .encryptionRequired(Self.noPlainBasic) }
            throw .httpStatus(reply.status)
        }
    }

    private static let noPlainBasic =
        "it does not take Basic over plain HTTP (AllowUnencrypted is false); use NTLM or HTTPS"

    // MARK: - Messages

    /// Sends an envelope and gives back the envelope of the answer, whatever the HTTP status was.
    func message(_ envelope: [UInt8], deadline: ContinuousClock.Instant) async throws(WinRMError) -> [UInt8] {
        // Before anything is sealed, since sealing counts.
        guard !self.isBusy else { throw .misuse("a second request while one is in flight") }
        do throws(WinRMError) {
            switch self.protection {
            case .notSignedIn, .challenged:
                throw .misuse("a request before signing in")
            case .basic(let authorization):
                return try await self.plainMessage(envelope, [("Authorization", authorization)], deadline: deadline)
            case .connectionBound:
                return try await self.plainMessage(envelope, [], deadline: deadline)
            case .sealed(let session):
                return try await self.sealedMessage(envelope, session, deadline: deadline)
            }
        } catch {
            if case .misuse = error { throw error }
            self.abandon(error)
            throw error
        }
    }

    private func plainMessage(
        _ envelope: [UInt8],
        _ headers: [(String, String)],
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) -> [UInt8] {
        let reply = try await self.post(
            envelope,
            contentType: SealedMultipart.soapContentType,
            headers: headers,
            deadline: deadline,
            phase: .request
        )
        switch reply.status {
        case 200: return reply.bodyBytes
        case 401:
            // Basic carries the password in every request: this one was a failed login.
            if case .basic = self.protection { throw .authenticationFailed("it was changed or disabled meanwhile") }
            throw .authenticationExpired
        default:
            guard Self.isSOAP(reply) else { throw .httpStatus(reply.status) }
            return reply.bodyBytes
        }
    }

    private func sealedMessage(
        _ envelope: [UInt8],
        _ session: NTLMSession,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) -> [UInt8] {
        var session = session
        let (signature, ciphertext) = try Self.security { () throws(NTLMError) in try session.seal(envelope) }
        self.protection = .sealed(session)
        let reply = try await self.post(
            SealedMultipart(signature: signature, ciphertext: ciphertext).encoded(),
            contentType: SealedMultipart.contentType,
            deadline: deadline,
            phase: .request
        )
        guard SealedMultipart.isSealed(contentType: reply.contentType) else {
            throw Self.unsealedError(reply)
        }
        let part: SealedMultipart
        do throws(MultipartError) {
            part = try SealedMultipart.decode(reply.bodyBytes)
        } catch {
            throw .protocolViolation(error.description)
        }
        let plaintext = try Self.security { () throws(NTLMError) in
            try session.unseal(part.ciphertext, signature: part.signature)
        }
        self.protection = .sealed(session)
        return plaintext
    }

    /// What an answer means that should have been sealed and is not. Its content is not trusted.
    private static func unsealedError(_ reply: HTTPReply) -> WinRMError {
        if reply.status == 401 { return .authenticationExpired }
        if reply.status / 100 == 2 || Self.isSOAP(reply) {
            return .protocolViolation("an unsealed answer (HTTP status \(reply.status)) on a sealed connection")
        }
        return .httpStatus(reply.status)
    }

    private static func security<Value>(_ body: () throws(NTLMError) -> Value) throws(WinRMError) -> Value {
        do { return try body() } catch { throw .protocolViolation("sealing: \(error)") }
    }

    private static func isSOAP(_ reply: HTTPReply) -> Bool {
        reply.contentType.lowercased().hasPrefix("application/soap+xml") && reply.body.readableBytes > 0
    }

    private static func fault(in reply: HTTPReply, limits: WinRMLimits) -> WSManFault? {
        guard Self.isSOAP(reply) else { return nil }
        do throws(WSManReplyError) {
            _ = try WSManReply.identify(reply.bodyBytes, limits: limits.xml)
        } catch {
            if case .fault(let fault) = error { return fault }
        }
        return nil
    }

    /// Decodes a reply. Anything but a fault means that the host and this client do not understand each other.
    func decode<Value>(_ body: () throws(WSManReplyError) -> Value) throws(WinRMError) -> Value {
        do throws(WSManReplyError) {
            return try body()
        } catch {
            switch error {
            case .fault(let fault): throw .fault(fault)
            case .xml, .unexpected, .tooManyInstances: throw .protocolViolation(error.description)
            }
        }
    }
}
