/// What went wrong in an NTLM or SPNEGO exchange.
///
/// Every case names the field or rule that failed; none carries a password, a key or a token.
package enum NTLMError: Error, Equatable, Sendable {
    /// Bytes that do not have the form which the specification gives them; the text names message and field.
    case malformed(String)
    /// A message larger than the limit for its kind.
    case tooLarge(size: Int, limit: Int)
    /// A call or a message that does not belong at this point of the exchange.
    case unexpectedMessage(String)
    /// The peer wants, or lacks, something that this implementation insists on; the text names it.
    case unsupported(String)
    /// The MIC of the AUTHENTICATE_MESSAGE is wrong: one of the three messages was altered.
    case micMismatch
    /// The AUTHENTICATE_MESSAGE has no MIC although the acceptor requires one.
    case micMissing
    /// The client is bound to another TLS channel than the one it arrived on, or to none.
    case channelBindingMismatch
    /// Unknown user or wrong password; an acceptor tells nobody which.
    case wrongPassword
    /// A signature over a message is wrong. The session is of no use after it.
    case signatureMismatch
    /// A message came twice, or out of order. The session is of no use after it.
    case sequenceMismatch(expected: UInt32, received: UInt32)
    /// 2³² messages were signed in one direction; authenticate anew.
    case sequenceExhausted
    /// The session failed before and cannot be used any more; authenticate anew on a new connection.
    case sessionBroken
    /// The SPNEGO peer offers no mechanism that is supported here.
    case noCommonMechanism
    /// The SPNEGO acceptor answered `reject`.
    case rejected
    /// The mechListMIC is wrong: the list of mechanisms was altered on its way.
    case mechListMICMismatch
    /// The peer left the mechListMIC out although this exchange needs it (RFC 4178 section 5).
    case mechListMICMissing
}

extension NTLMError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .malformed(let field): "malformed token: \(field)"
        case .tooLarge(let size, let limit): "token of \(size) bytes is over the limit of \(limit)"
        case .unexpectedMessage(let what): "unexpected in this state: \(what)"
        case .unsupported(let what): "refused: \(what)"
        case .micMismatch: "the MIC of the AUTHENTICATE_MESSAGE is wrong; a message was altered on its way"
        case .micMissing: "the AUTHENTICATE_MESSAGE has no MIC, and one is required"
        case .channelBindingMismatch: "the channel binding does not match the TLS connection"
        case .wrongPassword: "unknown user or wrong password"
        case .signatureMismatch: "the signature of a message is wrong; authenticate anew"
        case .sequenceMismatch(let expected, let received):
            "message number \(received) came where \(expected) was due; authenticate anew"
        case .sequenceExhausted: "the session's sequence numbers are used up; authenticate anew"
        case .sessionBroken: "the session failed earlier; authenticate anew on a new connection"
        case .noCommonMechanism: "the peer offers no supported authentication mechanism (NTLM)"
        case .rejected: "the peer rejected the authentication (SPNEGO reject)"
        case .mechListMICMismatch: "the SPNEGO mechListMIC is wrong; the list of mechanisms was altered"
        case .mechListMICMissing: "the SPNEGO mechListMIC is missing, and this exchange requires it"
        }
    }
}
