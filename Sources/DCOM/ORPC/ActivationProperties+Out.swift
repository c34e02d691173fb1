/// What an activation gives, [MS-DCOM] 2.2.22.2.8 and 2.2.22.2.9.
package struct ActivationReply: Sendable, Hashable {
    /// One of the interfaces that were asked for.
    package struct Interface: Sendable, Hashable {
        package var interface: GUID
        package var result: HRESULT
        /// Nil if it failed.
        package var reference: ObjectReference?

        package init(interface: GUID, result: HRESULT = .ok, reference: ObjectReference?) {
            self.interface = interface
            self.result = result
            self.reference = reference
        }
    }

    /// Object exporter of the new object.
    package var oxid: UInt64
    /// How to reach the exporter; with ports.
    package var bindings: DualStringArray
    /// The exporter's IRemUnknown.
    package var remUnknown: GUID
    /// The authentication level that the exporter suggests; it may be too low, and is not followed.
    package var authenticationHint: UInt32
    package var version: COMVersion
    package var interfaces: [Interface]

    package init(
        oxid: UInt64,
        bindings: DualStringArray,
        remUnknown: GUID,
        authenticationHint: UInt32,
        version: COMVersion = .current,
        interfaces: [Interface]
    ) {
        self.oxid = oxid
        self.bindings = bindings
        self.remUnknown = remUnknown
        self.authenticationHint = authenticationHint
        self.version = version
        self.interfaces = interfaces
    }

    // MARK: - Encoding

    package var blob: ActivationBlob {
        ActivationBlob(
            properties: [
                ActivationBlob.Property(classID: ClassID.propertiesOutput, bytes: self.propertiesOutput[...]),
                ActivationBlob.Property(classID: ClassID.scmReplyInfo, bytes: self.scmReplyInfo[...]),
            ]
        )
    }

    private var scmReplyInfo: [UInt8] {
        var body = NDRWriter()
        body.pointer(isNull: true)
        body.pointer(isNull: false)
        body.uint64(self.oxid)
        body.pointer(isNull: false)
        body.guid(self.remUnknown)
        body.uint32(self.authenticationHint)
        self.version.encode(to: &body)
        self.bindings.encode(to: &body)
        return TypeSerialization.close(body)
    }

    private var propertiesOutput: [UInt8] {
        var body = NDRWriter()
        body.uint32(UInt32(self.interfaces.count))
        for _ in 0..<3 { body.pointer(isNull: false) }
        body.count(self.interfaces.count)
        for each in self.interfaces { body.guid(each.interface) }
        body.count(self.interfaces.count)
        for each in self.interfaces { each.result.encode(to: &body) }
        body.count(self.interfaces.count)
        for each in self.interfaces { body.pointer(isNull: each.reference == nil) }
        for each in self.interfaces {
            if let reference = each.reference { InterfacePointer.encode(reference, to: &body) }
        }
        return TypeSerialization.close(body)
    }

    // MARK: - Decoding

    package init(_ blob: ActivationBlob) throws(NDRError) {
        guard let reply = blob.property(ClassID.scmReplyInfo), let output = blob.property(ClassID.propertiesOutput)
        else {
            throw .invalid(offset: 0, "an activation's answer without ScmReplyInfo or PropsOutInfo")
        }
        var (body, _) = try TypeSerialization.open(reply)
        let hasReserved = try body.pointer() != 0
        let hasReply = try body.pointer() != 0
        if hasReserved { _ = try body.uint32() }
        guard hasReply else { throw .invalid(offset: 0, "an activation's answer without a remote reply") }
        self.oxid = try body.uint64()
        let hasBindings = try body.pointer() != 0
        self.remUnknown = try body.guid()
        self.authenticationHint = try body.uint32()
        self.version = try COMVersion(from: &body)
        self.bindings = hasBindings ? try DualStringArray(from: &body) : DualStringArray()
        self.interfaces = try Self.interfaces(output)
    }

    private static func interfaces(_ property: ArraySlice<UInt8>) throws(NDRError) -> [Interface] {
        var (body, _) = try TypeSerialization.open(property)
        let announced = Int(try body.uint32())
        var isPresent: [Bool] = []
        for _ in 0..<3 { isPresent.append(try body.pointer() != 0) }
        guard !isPresent.contains(false) else {
            throw .invalid(offset: 0, "an activation's answer without its interfaces")
        }
        func count(ofElementSize size: Int, _ body: inout NDRReader) throws(NDRError) -> Int {
            let count = try body.count(ofElementSize: size)
            guard count == announced else {
                throw .invalid(offset: body.offset, "\(announced) interfaces in an array of \(count)")
            }
            return count
        }
        var identifiers: [GUID] = []
        for _ in 0..<(try count(ofElementSize: 16, &body)) { identifiers.append(try body.guid()) }
        var results: [HRESULT] = []
        for _ in 0..<(try count(ofElementSize: 4, &body)) { results.append(try HRESULT(from: &body)) }
        var hasReference: [Bool] = []
        for _ in 0..<(try count(ofElementSize: 4, &body)) { hasReference.append(try body.pointer() != 0) }
        var interfaces: [Interface] = []
        for index in 0..<announced {
            let reference = hasReference[index] ? try InterfacePointer.decode(from: &body) : nil
            interfaces.append(
                Interface(interface: identifiers[index], result: results[index], reference: reference)
            )
        }
        return interfaces
    }
}
