/// The tokens of RFC 4178 with the additions of [MS-SPNG].
package enum SPNEGO {
    /// The longest token that is looked at: the largest MaxTokenSize that Windows can be set to.
    package static let maximumTokenSize = 65_535
    /// The longest list of mechanisms that is looked at; Windows offers five.
    package static let maximumMechanisms = 32

    /// An object identifier, as the content octets of its DER form.
    package struct Mechanism: Sendable, Equatable {
        /// DER content octets.
        package var octets: [UInt8]

        /// Takes the content octets of an object identifier.
        package init(octets: [UInt8]) {
            self.octets = octets
        }

        /// NTLMSSP, 1.3.6.1.4.1.311.2.2.10.
        package static let ntlm = Mechanism(octets: [0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a])
        /// SPNEGO itself, 1.3.6.1.5.5.2.
        package static let spnego = Mechanism(octets: [0x2b, 0x06, 0x01, 0x05, 0x05, 0x02])
        /// Kerberos 5, 1.2.840.113554.1.2.2.
        package static let kerberos = Mechanism(octets: [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02])
        /// Kerberos 5 as Microsoft once misspelt it, 1.2.840.48018.1.2.2.
        package static let microsoftKerberos = Mechanism(
            octets: [0x2a, 0x86, 0x48, 0x82, 0xf7, 0x12, 0x01, 0x02, 0x02]
        )
    }

    /// NegState, RFC 4178 section 4.2.2.
    package enum State: UInt8, Sendable {
        /// The context is established.
        case acceptCompleted = 0
        /// More tokens are needed.
        case acceptIncomplete = 1
        /// The peer refuses.
        case reject = 2
        /// More tokens are needed, and a mechListMIC must be among them.
        case requestMIC = 3
    }

    /// Tells a bare NTLM message from a SPNEGO token; HTTP's `Negotiate` carries either.
    package static func isRawNTLM(_ token: [UInt8]) -> Bool {
        token.starts(with: NTLMReader.signature)
    }

    static func encodeMechanisms(_ mechanisms: [Mechanism]) -> [UInt8] {
        DER.encode(
            DER.Tag.sequence,
            mechanisms.flatMap { DER.encode(DER.Tag.objectIdentifier, $0.octets) }
        )
    }

    static func checkSize(_ token: [UInt8]) throws(NTLMError) {
        guard token.count <= Self.maximumTokenSize else {
            throw .tooLarge(size: token.count, limit: Self.maximumTokenSize)
        }
    }
}

/// NegTokenInit of RFC 4178 section 4.2.1, and NegTokenInit2 of [MS-SPNG] 2.2.1 when a server speaks first.
package struct NegTokenInit: Sendable, Equatable {
    /// Mechanisms in order of preference.
    package var mechTypes: [SPNEGO.Mechanism]
    /// The first token of the first mechanism.
    package var mechToken: [UInt8]?
    /// Signature over the list of mechanisms.
    package var mechListMIC: [UInt8]?
    /// NegTokenInit2 only: `hintName` of the server, a GeneralString's octets.
    package private(set) var hintName: [UInt8]?
    /// The MechTypeList in DER, exactly as received; this is what the mechListMIC covers.
    package private(set) var encodedMechTypes: [UInt8]

    /// Builds a token to be sent.
    package init(mechTypes: [SPNEGO.Mechanism], mechToken: [UInt8]?, mechListMIC: [UInt8]? = nil) {
        self.mechTypes = mechTypes
        self.mechToken = mechToken
        self.mechListMIC = mechListMIC
        self.encodedMechTypes = SPNEGO.encodeMechanisms(mechTypes)
    }

    /// Reads a token, with or without the InitialContextToken around it. Throws `malformed` or `tooLarge`.
    package init(parsing token: [UInt8]) throws(NTLMError) {
        try SPNEGO.checkSize(token)
        let label = "NegTokenInit"
        var choice = token[...]
        if token.first == DER.Tag.application0 {
            choice = try DER.only(choice, tag: DER.Tag.application0, label)
            let mechanism = try DER.read(&choice, tag: DER.Tag.objectIdentifier, label)
            guard Array(mechanism.content) == SPNEGO.Mechanism.spnego.octets else {
                throw .noCommonMechanism
            }
        }
        let body = try DER.only(choice, tag: DER.Tag.context(0), label)
        var fields = try DER.only(body, tag: DER.Tag.sequence, label)

        self.mechTypes = []
        self.encodedMechTypes = SPNEGO.encodeMechanisms([])
        var previous: UInt8 = 0
        while !fields.isEmpty {
            let field = try DER.read(&fields, label)
            // Strictly ascending, so that no field can come twice.
            guard field.tag > previous else {
                throw .malformed("\(label): fields out of order")
            }
            previous = field.tag
            switch field.tag {
            case DER.Tag.context(0):
                self.encodedMechTypes = Array(field.content)
                self.mechTypes = try Self.mechanisms(field.content)
            case DER.Tag.context(2):
                self.mechToken = Array(try DER.only(field.content, tag: DER.Tag.octetString, "\(label).mechToken"))
            case DER.Tag.context(3) where field.content.first == DER.Tag.sequence:
                self.hintName = try Self.hintName(field.content)
            case DER.Tag.context(3), DER.Tag.context(4):
                self.mechListMIC = Array(
                    try DER.only(field.content, tag: DER.Tag.octetString, "\(label).mechListMIC")
                )
            default:
                // reqFlags, "recommended to be left out", and extensions.
                continue
            }
        }
    }

    private static func mechanisms(_ content: ArraySlice<UInt8>) throws(NTLMError) -> [SPNEGO.Mechanism] {
        let label = "NegTokenInit.mechTypes"
        var list = try DER.only(content, tag: DER.Tag.sequence, label)
        var mechanisms: [SPNEGO.Mechanism] = []
        while !list.isEmpty {
            guard mechanisms.count < SPNEGO.maximumMechanisms else {
                throw .malformed("\(label): more than \(SPNEGO.maximumMechanisms)")
            }
            let element = try DER.read(&list, tag: DER.Tag.objectIdentifier, label)
            mechanisms.append(SPNEGO.Mechanism(octets: Array(element.content)))
        }
        return mechanisms
    }

    private static func hintName(_ content: ArraySlice<UInt8>) throws(NTLMError) -> [UInt8]? {
        let label = "NegTokenInit2.negHints"
        var hints = try DER.only(content, tag: DER.Tag.sequence, label)
        while !hints.isEmpty {
            let hint = try DER.read(&hints, label)
            if hint.tag == DER.Tag.context(0) {
                var name = hint.content
                return Array(try DER.read(&name, label).content)
            }
        }
        return nil
    }

    /// The token inside an InitialContextToken, as the first of an exchange must be.
    package func encoded() -> [UInt8] {
        var fields = DER.encode(DER.Tag.context(0), self.encodedMechTypes)
        if let mechToken = self.mechToken {
            fields += DER.encode(DER.Tag.context(2), DER.encode(DER.Tag.octetString, mechToken))
        }
        if let mechListMIC = self.mechListMIC {
            fields += DER.encode(DER.Tag.context(3), DER.encode(DER.Tag.octetString, mechListMIC))
        }
        let choice = DER.encode(DER.Tag.context(0), DER.encode(DER.Tag.sequence, fields))
        return DER.encode(
            DER.Tag.application0,
            DER.encode(DER.Tag.objectIdentifier, SPNEGO.Mechanism.spnego.octets) + choice
        )
    }
}

/// NegTokenResp of RFC 4178 section 4.2.2: every token after the first.
package struct NegTokenResp: Sendable, Equatable {
    /// How the acceptor sees the exchange; initiators may leave it out.
    package var state: SPNEGO.State?
    /// The mechanism that the acceptor chose, in its first answer only.
    package var supportedMech: SPNEGO.Mechanism?
    /// The mechanism's own token.
    package var responseToken: [UInt8]?
    /// Signature over the list of mechanisms.
    package var mechListMIC: [UInt8]?

    /// Builds a token to be sent.
    package init(
        state: SPNEGO.State? = nil,
        supportedMech: SPNEGO.Mechanism? = nil,
        responseToken: [UInt8]? = nil,
        mechListMIC: [UInt8]? = nil
    ) {
        self.state = state
        self.supportedMech = supportedMech
        self.responseToken = responseToken
        self.mechListMIC = mechListMIC
    }

    /// Reads a token. Throws `malformed` or `tooLarge`.
    package init(parsing token: [UInt8]) throws(NTLMError) {
        try SPNEGO.checkSize(token)
        let label = "NegTokenResp"
        let body = try DER.only(token[...], tag: DER.Tag.context(1), label)
        var fields = try DER.only(body, tag: DER.Tag.sequence, label)
        var previous: UInt8 = 0
        while !fields.isEmpty {
            let field = try DER.read(&fields, label)
            guard field.tag > previous else {
                throw .malformed("\(label): fields out of order")
            }
            previous = field.tag
            switch field.tag {
            case DER.Tag.context(0):
                let value = try DER.only(field.content, tag: DER.Tag.enumerated, "\(label).negState")
                guard value.count == 1, let state = value.first.flatMap(SPNEGO.State.init(rawValue:)) else {
                    throw .malformed("\(label).negState")
                }
                self.state = state
            case DER.Tag.context(1):
                let value = try DER.only(field.content, tag: DER.Tag.objectIdentifier, "\(label).supportedMech")
                self.supportedMech = SPNEGO.Mechanism(octets: Array(value))
            case DER.Tag.context(2):
                let value = try DER.only(field.content, tag: DER.Tag.octetString, "\(label).responseToken")
                self.responseToken = Array(value)
            case DER.Tag.context(3):
                let value = try DER.only(field.content, tag: DER.Tag.octetString, "\(label).mechListMIC")
                self.mechListMIC = Array(value)
            default:
                continue
            }
        }
        // Old servers repeat the response token where the MIC belongs; that is not a MIC.
        if self.responseToken != nil, self.mechListMIC == self.responseToken {
            self.mechListMIC = nil
        }
    }

    /// The token as it travels.
    package func encoded() -> [UInt8] {
        var fields: [UInt8] = []
        if let state = self.state {
            fields += DER.encode(DER.Tag.context(0), DER.encode(DER.Tag.enumerated, [state.rawValue]))
        }
        if let supportedMech = self.supportedMech {
            fields += DER.encode(
                DER.Tag.context(1),
                DER.encode(DER.Tag.objectIdentifier, supportedMech.octets)
            )
        }
        if let responseToken = self.responseToken {
            fields += DER.encode(DER.Tag.context(2), DER.encode(DER.Tag.octetString, responseToken))
        }
        if let mechListMIC = self.mechListMIC {
            fields += DER.encode(DER.Tag.context(3), DER.encode(DER.Tag.octetString, mechListMIC))
        }
        return DER.encode(DER.Tag.context(1), DER.encode(DER.Tag.sequence, fields))
    }
}
