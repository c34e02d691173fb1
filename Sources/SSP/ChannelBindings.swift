/// What ties an authentication to the TLS connection it travels on.
///
/// `gss_channel_bindings_struct` of RFC 2744 section 3.11 with the application data of RFC 5929 section 4.
package struct ChannelBindings: Sendable, Equatable {
    /// `<type>:<binding>`, for example `tls-server-end-point:` and a certificate's hash.
    package let applicationData: [UInt8]

    /// Bindings with no addresses and this application data.
    package init(applicationData: [UInt8]) {
        self.applicationData = applicationData
    }

    /// Binds to the server's certificate (RFC 5929 section 4.1).
    ///
    /// `certificateHash` is the hash of the whole DER certificate, with the hash function of its signature, but
    /// SHA-256 where that is MD5 or SHA-1.
    package static func tlsServerEndPoint(certificateHash: [UInt8]) -> ChannelBindings {
        ChannelBindings(applicationData: Array("tls-server-end-point:".utf8) + certificateHash)
    }

    /// The 16 bytes of MsvAvChannelBindings, [MS-NLMP] 2.2.2.1: MD5 over the structure.
    package var md5: [UInt8] {
        // Initiator and acceptor, type and length of address each: four zero words; then the application data.
        var structure = [UInt8](repeating: 0, count: 16)
        structure.append(littleEndian: UInt32(self.applicationData.count))
        return Digests.md5(structure, self.applicationData)
    }
}
