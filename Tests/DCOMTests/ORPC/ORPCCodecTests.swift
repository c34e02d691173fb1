import Testing

@testable import DCOM

/// Round trips, truncation at every byte, and what a hostile peer may write.
@Suite struct ORPCCodecTests {
    /// Decodes a stub and writes it again.
    typealias Rewrite = @Sendable ([UInt8]) throws -> [UInt8]

    static func rewrite<Value: NDRCodable>(_: Value.Type) -> Rewrite {
        { try Value(stub: $0).stub }
    }

    static let this = ORPCThis(
        version: COMVersion(major: 5, minor: 6),
        flags: 0,
        causality: ORPCFixtures.causality,
        extensions: [
            ORPCExtension(id: ORPCFixtures.ipid, data: [1, 2, 3]),
            ORPCExtension(id: ORPCFixtures.remUnknown, data: []),
            ORPCExtension(id: ORPCFixtures.causality, data: Array(0..<16)),
        ]
    )
    static let that = ORPCThat(flags: 1, extensions: [ORPCExtension(id: ORPCFixtures.ipid, data: Array(0..<9))])

    /// Every structure that travels, with everything in it that can be.
    static let samples: [(name: String, stub: [UInt8], rewrite: Rewrite)] = {
        let interfaces = Self.activation
        var samples: [(String, [UInt8], Rewrite)] = []
        func add<Value: NDRCodable>(_ name: String, _ value: Value) {
            samples.append((name, value.stub, Self.rewrite(Value.self)))
        }
        add("ORPCTHIS", Self.this)
        add("ORPCTHAT", Self.that)
        add("DUALSTRINGARRAY", ORPCFixtures.bindings)
        add("RemoteCreateInstance", RemoteCreateInstance.Request(this: Self.this, activation: Self.request))
        add("RemoteCreateInstance answer", RemoteCreateInstance.Response(that: Self.that, reply: interfaces))
        add("RemoteCreateInstance failure", RemoteCreateInstance.Response(reply: nil, result: .accessDenied))
        add("SimplePing answer", SimplePing.Response(status: .invalidSet))
        add("ComplexPing", ComplexPing.Request(set: 7, sequence: 2, added: [1], removed: [2, 3]))
        add("ComplexPing answer", ComplexPing.Response(set: 7, backoff: 1))
        add("ServerAlive2 answer", ServerAlive2.Response(bindings: ORPCFixtures.bindings))
        add(
            "RemQueryInterface",
            RemQueryInterface.Request(
                this: Self.this,
                ipid: ORPCFixtures.ipid,
                references: 5,
                interfaces: [ORPCFixtures.ipid, ORPCFixtures.causality]
            )
        )
        add(
            "RemQueryInterface answer",
            RemQueryInterface.Response(
                that: Self.that,
                results: [
                    .init(result: .ok, reference: ORPCFixtures.standard),
                    .init(result: .noInterface, reference: ORPCFixtures.standard),
                ]
            )
        )
        add("RemQueryInterface failure", RemQueryInterface.Response(results: [], result: .noInterface))
        add("RemRelease", RemRelease.Request(this: Self.this, references: ORPCFixtures.references))
        add("RemRelease answer", RemRelease.Response(that: Self.that))
        add("RemAddRef answer", RemAddRef.Response(results: [.ok, .noInterface]))
        add("NTLMLogin", NTLMLogin.Request(this: Self.this, networkResource: "//./root", preferredLocale: "en-US"))
        add("ExecQuery", ExecQuery.Request(this: Self.this, query: ORPCFixtures.query))
        add("Next", EnumNext.Request(this: Self.this, timeout: 1, count: 2))
        add("Next answer", ORPCFixtures.rows)
        add("interface", InterfaceResponse(that: Self.that, reference: ORPCFixtures.enumerator))
        add("no interface", InterfaceResponse(reference: nil, result: .wbemInvalidClass))
        add("GetSmartEnum", GetSmartEnum.Request(this: Self.this))
        add(
            "smart Next",
            SmartNext.Request(this: Self.this, proxy: ORPCFixtures.ipid, timeout: EnumNext.infinite, count: 9)
        )
        add("smart Next answer", SmartNext.Response(returned: 2, buffer: [1, 2, 3], result: .wbemFalse))
        add("smart Next end", SmartNext.Response(returned: 0, buffer: [], result: .wbemFalse))
        return samples
    }()

    static let request = ActivationRequest(
        classID: ClassID.wbemLevel1Login,
        interfaces: [RPCInterface.wbemLevel1Login.uuid, ORPCFixtures.ipid],
        protocols: [7, 15],
        includesOptionalProperties: true
    )

    static let activation: ActivationReply = {
        var activation = ORPCFixtures.activation
        activation.interfaces.append(
            ActivationReply.Interface(interface: ORPCFixtures.ipid, result: .noInterface, reference: nil)
        )
        return activation
    }()

    @Test(arguments: samples.indices)
    func survivesARoundTrip(index: Int) throws {
        let (name, stub, rewrite) = Self.samples[index]
        #expect(try rewrite(stub) == stub, "\(name)")
    }

    @Test(arguments: samples.indices)
    func refusesEveryTruncation(index: Int) throws {
        let (name, stub, rewrite) = Self.samples[index]
        for length in stub.indices {
            #expect(throws: NDRError.self, "\(name) cut to \(length)") { try rewrite(Array(stub[..<length])) }
        }
    }

    /// Every count, offset and length is hit by one of these; nothing may trap, or take long.
    @Test(arguments: samples.indices)
    func survivesEveryHostileWord(index: Int) throws {
        let (_, stub, rewrite) = Self.samples[index]
        for offset in stride(from: 0, to: stub.count - 3, by: 2) {
            for word: [UInt8] in [
                [255, 255, 255, 255], [255, 255, 255, 127], [0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0],
            ] {
                var hostile = stub
                hostile.replaceSubrange(offset..<offset + 4, with: word)
                _ = try? rewrite(hostile)
            }
        }
    }

    @Test func placesForExtensionsAreAnEvenNumber() throws {
        func read(size: UInt32, places: Int) throws -> ORPCThat {
            var writer = NDRWriter()
            writer.uint32(0)
            writer.pointer()
            writer.uint32(size)
            writer.uint32(0)
            writer.pointer()
            writer.count(places)
            for _ in 0..<places { writer.pointer(isNull: true) }
            return try ORPCThat(stub: writer.bytes)
        }
        #expect(try read(size: 1, places: 2).extensions.isEmpty)
        #expect(try read(size: 2, places: 2).extensions.isEmpty)
        #expect(throws: NDRError.self) { try read(size: 1, places: 1) }
        #expect(throws: NDRError.self) { try read(size: .max, places: 2) }
        #expect(throws: NDRError.self) { try read(size: 66, places: 66) }
    }

    // MARK: - Object references

    static let references = [
        ORPCFixtures.enumerator,
        ObjectReference(
            interface: ORPCFixtures.ipid,
            kind: .handler(ORPCFixtures.standard, classID: ORPCFixtures.causality, ORPCFixtures.bindings)
        ),
        ObjectReference(
            interface: ORPCFixtures.ipid,
            kind: .custom(classID: ORPCFixtures.causality, extensionSize: 0, data: [1, 2, 3])
        ),
        ObjectReference(
            interface: ORPCFixtures.ipid,
            kind: .extended(
                ORPCFixtures.standard,
                ORPCFixtures.bindings,
                elements: [.init(id: ORPCFixtures.ipid, data: [1, 2, 3])]
            )
        ),
    ]

    @Test(arguments: references)
    func readsEveryKindOfReference(reference: ObjectReference) throws {
        #expect(try ObjectReference(reference.bytes[...]) == reference)
        // A custom reference has no end of its own.
        let shortest = if case .custom = reference.kind { reference.bytes.count - 3 } else { reference.bytes.count }
        for length in 0..<shortest {
            #expect(throws: NDRError.self) { try ObjectReference(reference.bytes[..<length]) }
        }
    }

    @Test func refusesUnknownReferences() {
        var bytes = ORPCFixtures.enumerator.bytes
        bytes[0] ^= 1
        #expect(throws: NDRError.self) { try ObjectReference(bytes[...]) }
        for kind: UInt8 in [0, 3, 16] {
            bytes = ORPCFixtures.enumerator.bytes
            bytes[4] = kind
            #expect(throws: NDRError.self) { try ObjectReference(bytes[...]) }
        }
    }

    @Test func countsOfExtendedElementsAreHeldAgainstTheBytes() {
        let reference = Self.references[3]
        var bytes = reference.bytes
        // The count is before the second signature, after the bindings.
        let signature: [UInt8] = [0x56, 0x59, 0x53, 0x4E]
        let place = bytes.indices.dropLast(3).last { Array(bytes[$0..<$0 + 4]) == signature }
        guard let place else { return #expect(Bool(false), "no signature") }
        bytes.replaceSubrange(place - 4..<place, with: [255, 255, 255, 255])
        #expect(throws: NDRError.self) { try ObjectReference(bytes[...]) }
    }
}
