import NIOCore
import NIOHTTP1
import SSP

/// What a caller wants of a host.
extension WinRMConnection {
    /// Asks what the host is ([DSP0226] 11). On Windows this needs a login.
    package func identify(deadline: ContinuousClock.Instant) async throws(WinRMError) -> WSManIdentity {
        let reply = try await self.message(WSManRequest.identify(), deadline: deadline)
        return try self.closingUnlessFault { () throws(WinRMError) in
            try self.decode { () throws(WSManReplyError) in try WSManReply.identify(reply, limits: self.limits.xml) }
        }
    }

    /// Asks what the host is without a login; Windows then hides its version.
    ///
    /// - Returns: the HTTP status, the header `Server`, the offered schemes, and the identity if there was one.
    package func identifyUnauthenticated(deadline: ContinuousClock.Instant) async throws(WinRMError) -> WinRMProbe {
        guard case .notSignedIn = self.protection else { throw .misuse("an anonymous request after signing in") }
        let reply: HTTPReply
        do throws(WinRMError) {
            reply = try await self.post(
                WSManRequest.identify(),
                contentType: SealedMultipart.soapContentType,
                headers: [("WSMANIDENTIFY", "unauthenticated")],
                deadline: deadline,
                phase: .request
            )
        } catch {
            self.abandon(error)
            throw error
        }
        return WinRMProbe(
            status: reply.status,
            server: reply.headers.first(name: "Server").map(WSManFaultDecoder.shortened),
            schemes: HTTPChallenges(reply.headers["WWW-Authenticate"]).schemes,
            identity: try? WSManReply.identify(reply.bodyBytes, limits: self.limits.xml)
        )
    }

    /// Runs a WQL query and follows the enumeration to its end.
    ///
    /// - Parameters:
    ///   - wql: name the columns; `SELECT *` costs the host and the network dearly.
    ///   - namespace: of WMI.
    ///   - maximumElements: items per answer; nil for the connection's limit.
    ///   - deadline: for all of it.
    /// - Throws: `.fault`, after which the connection is still good; any other error closes it.
    package func enumerate(
        wql: String,
        namespace: String = "root/cimv2",
        maximumElements: Int? = nil,
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) -> [CIMInstance] {
        let elements = max(1, maximumElements ?? self.limits.maximumElements)
        let resource = WSManNames.allClasses(of: namespace)
        var instances: [CIMInstance] = []
        var bytes = 0
        var request = WSManRequest.enumerate(
            self.header(resource, deadline: deadline),
            wql: wql,
            maximumElements: elements
        )
        for _ in 0...self.limits.maximumPulls {
            let reply = try await self.message(request, deadline: deadline)
            bytes += reply.count
            let page = try self.closingUnlessFault { () throws(WinRMError) in
                guard bytes <= self.limits.maximumEnumerationBytes else {
                    throw .responseTooLarge(limit: self.limits.maximumEnumerationBytes)
                }
                return try self.decode { () throws(WSManReplyError) in
                    try WSManReply.page(
                        reply,
                        maximumInstances: self.limits.maximumInstances - instances.count,
                        limits: self.limits.xml
                    )
                }
            }
            instances.append(contentsOf: page.items)
            if page.isEnd { return instances }
            guard let context = page.context else {
                throw self.closing(.protocolViolation("an enumeration with neither an end nor a context"))
            }
            request = WSManRequest.pull(
                self.header(resource, deadline: deadline),
                context: context,
                maximumElements: elements
            )
        }
        throw self.closing(.protocolViolation("an enumeration without an end"))
    }

    /// Tells the host that an enumeration will not be followed to its end.
    package func release(
        context: String,
        namespace: String = "root/cimv2",
        deadline: ContinuousClock.Instant
    ) async throws(WinRMError) {
        let header = self.header(WSManNames.allClasses(of: namespace), deadline: deadline)
        let reply = try await self.message(WSManRequest.release(header, context: context), deadline: deadline)
        try self.closingUnlessFault { () throws(WinRMError) in
            try self.decode { () throws(WSManReplyError) in try WSManReply.released(reply, limits: self.limits.xml) }
        }
    }

    // MARK: -

    /// The share of the time left that the host may use, so that its own time-out arrives before ours.
    private static let operationShare = 0.9

    private func header(_ resource: String, deadline: ContinuousClock.Instant) -> WSManRequest.Header {
        let remaining = ContinuousClock.now.duration(to: deadline) / .milliseconds(1)
        return WSManRequest.Header(
            to: self.endpoint.url,
            resourceURI: resource,
            messageID: "uuid:" + Self.uuid(self.environment.randomBytes(16)),
            maximumEnvelopeSize: self.limits.maximumEnvelopeSize,
            operationTimeoutMilliseconds: Int(remaining * Self.operationShare)
        )
    }

    /// A random UUID (RFC 9562, version 4) in upper case, as Windows writes them.
    static func uuid(_ random: [UInt8]) -> String {
        var bytes = random
        bytes[6] = bytes[6] & 0x0F | 0x40
        bytes[8] = bytes[8] & 0x3F | 0x80
        let digits = Array("0123456789ABCDEF".utf8)
        var text: [UInt8] = []
        for (index, byte) in bytes.enumerated() {
            if [4, 6, 8, 10].contains(index) { text.append(UInt8(ascii: "-")) }
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 0x0F)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    private func closing(_ error: WinRMError) -> WinRMError {
        self.abandon(error)
        return error
    }

    private func closingUnlessFault<Value>(_ body: () throws(WinRMError) -> Value) throws(WinRMError) -> Value {
        do throws(WinRMError) {
            return try body()
        } catch {
            if case .fault = error { throw error }
            throw self.closing(error)
        }
    }
}

/// What a host tells without a login.
package struct WinRMProbe: Sendable, Hashable {
    package var status: Int
    /// `Microsoft-HTTPAPI/2.0` on Windows.
    package var server: String?
    /// Authentication schemes, if it wants one.
    package var schemes: [String]
    package var identity: WSManIdentity?
}
