/// What a client asks of an activation, [MS-DCOM] 2.2.22.2.1 to 2.2.22.2.7, without what it has no say in.
package struct ActivationRequest: Sendable, Hashable {
    package var classID: GUID
    package var interfaces: [GUID]
    package var version: COMVersion
    /// Tower identifiers of the protocols that the client can use.
    package var protocols: [UInt16]
    /// The properties of [MS-DCOM] that clients may leave out. The two open clients that are in wide use do.
    package var includesOptionalProperties: Bool

    /// MAX_REQUESTED_INTERFACES and MAX_REQUESTED_PROTSEQS, [MS-DCOM] 2.2.28.1.
    package static let maximumCount = 0x8000

    package init(
        classID: GUID,
        interfaces: [GUID],
        version: COMVersion = .current,
        protocols: [UInt16] = [StringBinding.tcp],
        includesOptionalProperties: Bool = false
    ) {
        self.classID = classID
        self.interfaces = interfaces
        self.version = version
        self.protocols = protocols
        self.includesOptionalProperties = includesOptionalProperties
    }

    // MARK: - Encoding

    package var blob: ActivationBlob {
        var properties: [ActivationBlob.Property] = []
        func add(_ classID: GUID, _ bytes: [UInt8]) {
            properties.append(ActivationBlob.Property(classID: classID, bytes: bytes[...]))
        }
        if self.includesOptionalProperties { add(ClassID.specialSystemProperties, Self.specialProperties) }
        add(ClassID.instantiationInfo, self.instantiationInfo)
        add(ClassID.activationContextInfo, Self.activationContextInfo)
        if self.includesOptionalProperties { add(ClassID.securityInfo, Self.securityInfo) }
        add(ClassID.serverLocationInfo, Self.locationInfo)
        add(ClassID.scmRequestInfo, self.scmRequestInfo)
        return ActivationBlob(properties: properties)
    }

    /// InstantiationInfoData, 2.2.22.2.1.
    private var instantiationInfo: [UInt8] {
        // The structure holds its own serialized size, headers included.
        let size = self.instantiationInfo(size: 0).count
        return self.instantiationInfo(size: UInt32(size))
    }

    private func instantiationInfo(size: UInt32) -> [UInt8] {
        var body = NDRWriter()
        body.guid(self.classID)
        body.uint32(0)  // classCtx: servers ignore it
        body.uint32(0)  // actvflags
        body.uint32(0)  // fIsSurrogate
        body.uint32(UInt32(self.interfaces.count))
        body.uint32(0)  // instFlag
        body.pointer(isNull: false)
        body.uint32(size)
        self.version.encode(to: &body)
        body.count(self.interfaces.count)
        for interface in self.interfaces { body.guid(interface) }
        return TypeSerialization.close(body)
    }

    /// ScmRequestInfoData, 2.2.22.2.4.
    private var scmRequestInfo: [UInt8] {
        var body = NDRWriter()
        body.pointer(isNull: true)
        body.pointer(isNull: false)
        body.uint32(2)  // RPC_C_IMP_LEVEL_IDENTIFY; servers ignore it
        body.uint16(UInt16(clamping: self.protocols.count))
        body.pointer(isNull: false)
        body.count(self.protocols.count)
        for tower in self.protocols { body.uint16(tower) }
        return TypeSerialization.close(body)
    }

    /// ActivationContextInfoData, 2.2.22.2.5: no contexts.
    private static var activationContextInfo: [UInt8] {
        var body = NDRWriter()
        for _ in 0..<4 { body.uint32(0) }
        body.pointer(isNull: true)
        body.pointer(isNull: true)
        return TypeSerialization.close(body)
    }

    /// LocationInfoData, 2.2.22.2.6.
    private static var locationInfo: [UInt8] {
        var body = NDRWriter()
        body.pointer(isNull: true)
        for _ in 0..<3 { body.uint32(0) }
        return TypeSerialization.close(body)
    }

    /// SecurityInfoData, 2.2.22.2.7, without COSERVERINFO: a qualified name in it makes hosts fail the activation.
    private static var securityInfo: [UInt8] {
        var body = NDRWriter()
        body.uint32(0)
        body.pointer(isNull: true)
        body.pointer(isNull: true)
        return TypeSerialization.close(body)
    }

    /// SpecialPropertiesData, 2.2.22.2.2: no session, no partition.
    private static var specialProperties: [UInt8] {
        var body = NDRWriter()
        body.uint32(UInt32.max)  // dwSessionId: any
        for _ in 0..<3 { body.uint32(0) }
        body.uint32(2)  // dwDefaultAuthnLvl: RPC_C_AUTHN_LEVEL_CONNECT, as Windows sends
        body.guid(GUID.null)
        body.uint32(0)
        body.uint32(0x14)  // dwOrigClsctx: local or remote server
        body.uint32(0)
        body.uint32(0)
        body.uint64(0)
        for _ in 0..<5 { body.uint32(0) }
        return TypeSerialization.close(body)
    }

    // MARK: - Decoding

    /// Reads what a server needs to know.
    package init(_ blob: ActivationBlob) throws(NDRError) {
        guard let info = blob.property(ClassID.instantiationInfo) else {
            throw .invalid(offset: 0, "an activation without InstantiationInfo")
        }
        var (body, _) = try TypeSerialization.open(info)
        self.classID = try body.guid()
        for _ in 0..<3 { _ = try body.uint32() }
        let announced = Int(try body.uint32())
        _ = try body.uint32()
        let hasInterfaces = try body.pointer() != 0
        _ = try body.uint32()
        self.version = try COMVersion(from: &body)
        self.interfaces = []
        if hasInterfaces {
            let count = try body.count(ofElementSize: 16)
            guard count == announced, count <= Self.maximumCount else {
                throw .invalid(offset: body.offset, "\(announced) interfaces in an array of \(count)")
            }
            for _ in 0..<count { self.interfaces.append(try body.guid()) }
        }
        self.protocols = try Self.protocols(blob.property(ClassID.scmRequestInfo))
        self.includesOptionalProperties = blob.property(ClassID.specialSystemProperties) != nil
    }

    private static func protocols(_ property: ArraySlice<UInt8>?) throws(NDRError) -> [UInt16] {
        guard let property else { return [] }
        var (body, _) = try TypeSerialization.open(property)
        let hasReserved = try body.pointer() != 0
        let hasRequest = try body.pointer() != 0
        if hasReserved { _ = try body.uint32() }
        guard hasRequest else { return [] }
        _ = try body.uint32()
        let announced = Int(try body.uint16())
        guard try body.pointer() != 0 else { return [] }
        let count = try body.count(ofElementSize: 2)
        guard count == announced, count <= Self.maximumCount else {
            throw .invalid(offset: body.offset, "\(announced) protocols in an array of \(count)")
        }
        var protocols: [UInt16] = []
        for _ in 0..<count { protocols.append(try body.uint16()) }
        return protocols
    }
}
