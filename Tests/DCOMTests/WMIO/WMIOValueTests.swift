import DCOM
import Testing

/// Each type, alone and in an array, and strings in both forms.
@Suite struct WMIOValueTests {
    private static let scalars: [(CIMType, [UInt8], CIMValue)] = [
        (.sint8, [0x80], .sint8(-128)), (.sint8, [0x7F], .sint8(127)),
        (.uint8, [0xFF], .uint8(255)), (.uint8, [0], .uint8(0)),
        (.sint16, [0x00, 0x80], .sint16(-32768)), (.uint16, [0xFE, 0xFF], .uint16(65534)),
        (.sint32, [0, 0, 0, 0x80], .sint32(.min)), (.uint32, [1, 2, 3, 4], .uint32(0x0403_0201)),
        (.sint64, [0xFE, 255, 255, 255, 255, 255, 255, 255], .sint64(-2)),
        (.uint64, [1, 2, 3, 4, 5, 6, 7, 0x88], .uint64(0x8807_0605_0403_0201)),
        (.real32, [0, 0, 0xC0, 0x3F], .real32(1.5)),
        (.real64, [0, 0, 0, 0, 0, 0, 0x04, 0xC0], .real64(-2.5)),
        (.boolean, [0xFF, 0xFF], .boolean(true)), (.boolean, [0, 0], .boolean(false)),
        (.char16, [0x3A, 0x26], .char16(0x263A)),
    ]

    private func decode(_ bytes: [UInt8]) throws -> CIMValue? {
        var decoder = WMIObjectDecoder()
        return try decoder.decode(bytes)["Value"]
    }

    @Test(arguments: Self.scalars.indices)
    func scalar(_ index: Int) throws {
        let (type, slot, value) = Self.scalars[index]
        #expect(try self.decode(WMIOBuilder.instance(type.rawValue, slot)) == value)
        #expect(try self.decode(WMIOBuilder.instance(type.rawValue | WMIOFormat.inheritedFlag, slot)) == value)
        // Only the lower half of the field is the type ([MS-WMIO] 2.2.82).
        #expect(try self.decode(WMIOBuilder.instance(type.rawValue | 0xABCD_0000, slot)) == value)
    }

    @Test(arguments: Self.scalars.indices)
    func array(_ index: Int) throws {
        let (type, slot, value) = Self.scalars[index]
        var heap = WMIOTestHeap(bytes: [1, 2, 3])
        let items = heap.add(le(UInt32(3)) + slot + slot + slot)
        let bytes = WMIOBuilder.instance(type.rawValue | WMIOFormat.arrayFlag, le(items), heap: heap)
        #expect(try self.decode(bytes) == .array([value, value, value]))
        #expect(try self.decode(bytes) != .array([value, value]))
    }

    @Test func emptyArray() throws {
        var heap = WMIOTestHeap()
        let items = heap.add(le(UInt32(0)))
        let bytes = WMIOBuilder.instance(CIMType.uint64.rawValue | WMIOFormat.arrayFlag, le(items), heap: heap)
        #expect(try self.decode(bytes) == .array([]))
    }

    static let texts = [
        "", "a", "Intel(R) 82574L Gigabit Network Connection", "Größe ÿ \u{80}", "日本語", "€", "smile \u{1F600}!", "Ā",
        "aĀb",
    ]

    @Test(arguments: Self.texts)
    func strings(_ text: String) throws {
        for (type, value) in [
            (CIMType.string, CIMValue.string(text)), (.datetime, .datetime(text)), (.reference, .reference(text)),
        ] {
            var heap = WMIOTestHeap(bytes: [9])
            let reference = heap.string(text)
            heap.bytes += [0, 1, 2]
            #expect(try self.decode(WMIOBuilder.instance(type.rawValue, le(reference), heap: heap)) == value)
        }
    }

    /// Wide though all of it would fit in bytes, as impacket writes all strings; and wide with a zero byte inside.
    @Test func wideForm() throws {
        for text in ["cmd", "Ā\u{100}"] {
            var heap = WMIOTestHeap()
            let reference = heap.add([WMIOFormat.unicodeString] + text.utf16.flatMap { le($0) } + [0, 0])
            let bytes = WMIOBuilder.instance(CIMType.string.rawValue, le(reference), heap: heap)
            #expect(try self.decode(bytes) == .string(text))
        }
    }

    /// Half a surrogate pair becomes a replacement character: better a name that looks odd than no row.
    @Test func loneSurrogate() throws {
        var heap = WMIOTestHeap()
        let reference = heap.add([WMIOFormat.unicodeString] + le(UInt16(0xD800)) + le(UInt16(0x41)) + [0, 0])
        let bytes = WMIOBuilder.instance(CIMType.string.rawValue, le(reference), heap: heap)
        #expect(try self.decode(bytes) == .string("\u{FFFD}A"))
    }

    @Test(arguments: WMIOFormat.dictionary.indices)
    func dictionary(_ index: Int) throws {
        let reference = WMIOFormat.dictionaryFlag | UInt32(index)
        let bytes = WMIOBuilder.instance(CIMType.string.rawValue, le(reference))
        #expect(try self.decode(bytes) == .string(WMIOFormat.dictionary[index]))
    }

    @Test func dictionaryHasElevenEntries() {
        #expect(WMIOFormat.dictionary.count == 11)
        let bytes = WMIOBuilder.instance(CIMType.string.rawValue, le(UInt32(0x8000_000B)))
        #expect(throws: WMIOError.self) { try self.decode(bytes) }
    }

    /// Elements refer to the heap one by one, in any order; NULL and the dictionary among them.
    @Test func stringArray() throws {
        var heap = WMIOTestHeap()
        let second = heap.string("second")
        let items = heap.add(le(UInt32(4)) + [UInt8](repeating: 0, count: 16))
        let first = heap.string("日本")
        let references = [first, second, WMIOFormat.nullReference, WMIOFormat.dictionaryFlag | 8]
        let start = Int(items) + 4
        heap.bytes.replaceSubrange(start..<start + 16, with: references.flatMap { le($0) })
        let bytes = WMIOBuilder.instance(CIMType.string.rawValue | WMIOFormat.arrayFlag, le(items), heap: heap)
        #expect(
            try self.decode(bytes) == .array([.string("日本"), .string("second"), nil, .string("cimwin32")])
        )
    }

    // MARK: Embedded objects

    /// An instance with `depth` instances in one another.
    static func nested(_ depth: Int) -> [UInt8] {
        var block = WMIOBuilder(
            className: "Leaf",
            properties: [.init(name: "Value", type: CIMType.uint32.rawValue, slot: le(UInt32(42)))]
        ).instanceBlock
        for _ in 0..<depth {
            var heap = WMIOTestHeap(bytes: [0, 0, 0])
            let reference = heap.add(le(UInt32(block.count)) + block)
            block =
                WMIOBuilder(
                    className: "Node",
                    properties: [.init(name: "Value", type: CIMType.object.rawValue, slot: le(reference))],
                    heap: heap
                ).instanceBlock
        }
        return WMIOBuilder.unit(block)
    }

    @Test func embeddedInstances() throws {
        var decoder = WMIObjectDecoder()
        let object = try decoder.decode(Self.nested(2))
        #expect(object.className == "Node")
        let inner = object["Value"]?.object?["Value"]?.object
        #expect(inner?.className == "Leaf")
        #expect(inner?["Value"] == .uint32(42))
    }

    @Test func nestingIsLimited() throws {
        let limit = WMIOLimits().maximumDepth
        var decoder = WMIObjectDecoder()
        #expect(try decoder.decode(Self.nested(limit)).className == "Node")
        let error = #expect(throws: WMIOError.self) { _ = try decoder.decode(Self.nested(limit + 1)) }
        #expect(error?.problem == .tooDeep(limit: limit))
        #expect(error?.section == .object)
    }

    @Test func embeddedClass() throws {
        let inner = WMIOBuilder(
            className: "Inner",
            properties: [
                .init(name: "P", type: CIMType.uint32.rawValue, classFlags: 0, classSlot: le(UInt32(3)))
            ]
        )
        var heap = WMIOTestHeap()
        let reference = heap.add(le(UInt32(inner.classBlock.count)) + inner.classBlock)
        let value = try self.decode(WMIOBuilder.instance(CIMType.object.rawValue, le(reference), heap: heap))
        #expect(value?.object?.kind == .class)
        #expect(value?.object?.className == "Inner")
        #expect(value?.object?["P"] == .uint32(3))
    }

    @Test func arrayOfObjects() throws {
        var heap = WMIOTestHeap()
        let references = (0..<3).map { index in
            let block = WMIOBuilder(
                className: "Item",
                properties: [.init(name: "N", type: CIMType.uint8.rawValue, slot: [UInt8(index)])]
            ).instanceBlock
            return heap.add(le(UInt32(block.count)) + block)
        }
        let items = heap.add(le(UInt32(4)) + (references + [WMIOFormat.nullReference]).flatMap { le($0) })
        let type = CIMType.object.rawValue | WMIOFormat.arrayFlag
        let value = try self.decode(WMIOBuilder.instance(type, le(items), heap: heap))
        #expect(value?.array?.map { $0?.object?["N"] } == [.uint8(0), .uint8(1), .uint8(2), nil])
    }

    // MARK: What surrounds the values

    @Test func decorationAndGarbage() throws {
        var builder = WMIOBuilder(
            superclasses: ["CIM_Parent", "Ünïcode", "日本"],
            properties: [.init(name: "Value", type: CIMType.uint32.rawValue, slot: le(UInt32(1)))],
            server: "SERVER-Ω",
            namespace: "root\\cimv2"
        )
        builder.garbage = [UInt8](repeating: 0xEE, count: 300)
        var decoder = WMIObjectDecoder()
        let object = try decoder.decode(WMIOBuilder.unit(builder.instanceBlock) + [1, 2, 3])
        #expect(object.server == "SERVER-Ω")
        #expect(object.namespace == "root\\cimv2")
        #expect(object.definition.superclasses == ["CIM_Parent", "Ünïcode", "日本"])
        #expect(object["Value"] == .uint32(1))
    }

    /// The heap comes after them.
    @Test func qualifiersOfProperties() throws {
        var heap = WMIOTestHeap()
        let text = heap.string("text")
        let builder = WMIOBuilder(
            properties: [
                .init(name: "A", type: CIMType.uint32.rawValue, slot: le(UInt32(1))),
                .init(name: "B", type: CIMType.string.rawValue, slot: le(text)),
            ],
            heap: heap,
            propertyQualifiers: [[], [1, 0, 0, 0x80, 0, 11, 0, 0, 0, 0xFF, 0xFF]]
        )
        var decoder = WMIObjectDecoder()
        let object = try decoder.decode(WMIOBuilder.unit(builder.instanceBlock))
        #expect(object["A"] == .uint32(1))
        #expect(object["B"] == .string("text"))
    }

    @Test func inputMayBeASliceOfAMessage() throws {
        let bytes = WMIOFixture.myInstance.bytes
        let message = [UInt8](repeating: 7, count: 100) + bytes + [1]
        var decoder = WMIObjectDecoder()
        let object = try decoder.decode(message[100..<100 + bytes.count])
        #expect(object["Data1"] == .string("StringField"))
    }

    // MARK: Convenience

    @Test func unsignedFromAnyInteger() {
        #expect(CIMValue.uint8(1).uint64 == 1)
        #expect(CIMValue.sint64(5).uint64 == 5)
        #expect(CIMValue.sint32(-5).uint64 == nil)
        #expect(CIMValue.uint64(.max).uint64 == .max)
        #expect(CIMValue.string("18446744073709551615").uint64 == .max)
        #expect(CIMValue.string("12a").uint64 == nil)
        #expect(CIMValue.real64(1).uint64 == nil)
    }

    @Test func textAndTruth() {
        #expect(CIMValue.datetime("20240229123000.500000+060").string == "20240229123000.500000+060")
        #expect(CIMValue.reference("Win32_Disk.X=1").string == "Win32_Disk.X=1")
        #expect(CIMValue.uint8(1).string == nil)
        #expect(CIMValue.boolean(true).bool == true)
        #expect(CIMValue.uint8(1).bool == nil)
    }
}
