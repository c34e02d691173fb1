import Testing

@testable import DCOM

/// What a hostile or broken host can send: it is refused or decoded, never a trap, and never takes more memory than a
/// small multiple of its size.
@Suite struct WMIOHostileTests {
    /// Decodes and checks that what came out is no larger than the limits allow.
    private func probe(_ bytes: [UInt8], _ decoder: inout WMIObjectDecoder) {
        guard let object = try? decoder.decode(bytes) else { return }
        let limits = decoder.limits
        let weight = Self.weight(object)
        #expect(weight <= max(limits.memoryFloor, limits.memoryPerByte * bytes.count))
    }

    /// The memory of an object, counted on the object itself.
    private static func weight(_ object: WMIObject) -> Int {
        object.properties.reduce(0) { sum, property in
            sum + MemoryLayout<WMIPropertyDeclaration>.stride + MemoryLayout<WMIObject.State>.stride
                + property.name.utf8.count + (property.value.map { self.weight($0) } ?? 0)
        }
    }

    private static func weight(_ value: CIMValue) -> Int {
        switch value {
        case .string(let text), .datetime(let text), .reference(let text): text.utf8.count
        case .object(let object): MemoryLayout<WMIObject>.stride + self.weight(object)
        case .array(let values):
            values.reduce(0) { $0 + ($1.map { 4 + self.weight($0) } ?? 4) }
        default: 0
        }
    }

    // MARK: Every truncation and every corruption

    /// A prefix is refused, unless only octets are missing that mean nothing.
    @Test(arguments: WMIOFixture.allCases)
    func truncations(_ fixture: WMIOFixture) throws {
        let bytes = fixture.bytes
        try #require(!bytes.isEmpty)
        var whole = WMIObjectDecoder()
        let expected = try? whole.decode(bytes)
        for length in 0..<bytes.count {
            var decoder = WMIObjectDecoder()
            guard let object = try? decoder.decode(bytes[..<length]) else { continue }
            #expect(object == expected)
            #expect(fixture != .myInstance)
        }
    }

    @Test(arguments: WMIOFixture.allCases)
    func corruptions(_ fixture: WMIOFixture) {
        var bytes = fixture.bytes
        var decoder = WMIObjectDecoder()
        for index in bytes.indices {
            let original = bytes[index]
            for value in [0xFF, original ^ 1] {
                bytes[index] = value
                self.probe(bytes, &decoder)
            }
            bytes[index] = original
        }
    }

    /// From the instance's NdTable to its end.
    @Test func everyValueOfEveryByteOfAnInstance() {
        var bytes = WMIOFixture.myInstance.bytes
        let start = WMIOTestLayout(bytes).ndTable.lowerBound - 9
        var decoder = WMIObjectDecoder()
        for index in start..<bytes.endIndex {
            let original = bytes[index]
            for value in UInt8.min...UInt8.max {
                bytes[index] = value
                self.probe(bytes, &decoder)
            }
            bytes[index] = original
        }
    }

    @Test func corruptedObjectArrays() {
        let row = WMIOFixture.utcTime.bytes.dropFirst(8)
        let instance = packet(WMIOFormat.instanceObject, identifier: 1, Array(row))
        let classPart = packet(WMIOFormat.classObject, Array(WMIOFixture.myClass.bytes.dropFirst(8)))
        var bytes = objectArray([classPart, instance])
        for length in 0..<bytes.count {
            var decoder = WMIObjectDecoder()
            #expect(throws: WMIOError.self) { try decoder.decode(objectArray: bytes[..<length]) }
        }
        var decoder = WMIObjectDecoder()
        for index in bytes.indices {
            let original = bytes[index]
            for value in [0xFF, original ^ 1] {
                bytes[index] = value
                _ = try? decoder.decode(objectArray: bytes[...])
            }
            bytes[index] = original
        }
    }

    // MARK: Hostile counts

    private func error(_ bytes: [UInt8]) -> WMIOError? {
        var decoder = WMIObjectDecoder()
        do throws(WMIOError) {
            _ = try decoder.decode(bytes)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: [CIMType.uint8, .uint64, .string, .object])
    func arrayCounts(_ type: CIMType) {
        for count in [UInt32(2), 0x1000_0000, 0x7FFF_FFFF, .max] {
            var heap = WMIOTestHeap()
            let items = heap.add(le(count) + [UInt8](repeating: 0, count: type.encodedLength))
            // The class's name is put behind the array: too few bytes for a second large element, not for a byte.
            let last = [UInt8](repeating: 0xFF, count: 4)
            let bytes = WMIOBuilder.instance(type.rawValue | WMIOFormat.arrayFlag, le(items), heap: heap) + last
            if type == .uint8, count == 2 { continue }
            #expect(self.error(bytes) != nil)
        }
    }

    @Test func propertyCounts() {
        let bytes = WMIOFixture.utcTime.bytes
        let layout = WMIOTestLayout(bytes)
        for count in [UInt32(11), 0x1000_0000, 0x2000_0001, 0x7FFF_FFFF, .max] {
            var wrong = bytes
            wrong.replaceSubrange(layout.propertyCount..<layout.propertyCount + 4, with: le(count))
            #expect(self.error(wrong) != nil)
        }
    }

    /// The first of two sizes of a class part, and of its lists, that do not reach their own length.
    @Test func lengthsBelowTheirOwn() {
        let bytes = WMIOFixture.utcTime.bytes
        let layout = WMIOTestLayout(bytes)
        for start in [layout.classPart, layout.classPart + WMIOFormat.classHeaderLength] {
            for length in 0..<UInt32(4) {
                var wrong = bytes
                wrong.replaceSubrange(start..<start + 4, with: le(length))
                guard case .tooShort = self.error(wrong)?.problem else {
                    Issue.record("length \(length) at \(start)")
                    return
                }
            }
        }
    }

    // MARK: Items that are shared

    /// A thousand properties that all refer to one string of 60 KB would be 60 MB.
    @Test func sharedStrings() {
        var heap = WMIOTestHeap()
        let text = heap.string(String(repeating: "x", count: 60_000))
        var builder = WMIOBuilder(heap: heap)
        builder.properties = (0..<1000).map {
            .init(name: "P\($0)", type: CIMType.string.rawValue, slot: le(text))
        }
        guard case .tooLarge = self.error(WMIOBuilder.unit(builder.instanceBlock))?.problem else {
            Issue.record("accepted")
            return
        }
    }

    @Test func arrayOfOneSharedString() {
        for text in [String(repeating: "x", count: 20_000), String(repeating: "Ω", count: 20_000)] {
            var heap = WMIOTestHeap()
            let reference = heap.string(text)
            let items = heap.add(le(UInt32(5000)) + (0..<5000).flatMap { _ in le(reference) })
            let bytes = WMIOBuilder.instance(CIMType.string.rawValue | WMIOFormat.arrayFlag, le(items), heap: heap)
            guard case .tooLarge = self.error(bytes)?.problem else {
                Issue.record("accepted")
                return
            }
        }
    }

    /// Objects that hold ten references to the next one: 10^8 objects in a few kilobytes.
    @Test func sharedObjects() {
        var block = WMIOBuilder(className: "Leaf").instanceBlock
        for _ in 0..<8 {
            var heap = WMIOTestHeap()
            let reference = heap.add(le(UInt32(block.count)) + block)
            let items = heap.add(le(UInt32(10)) + (0..<10).flatMap { _ in le(reference) })
            let type = CIMType.object.rawValue | WMIOFormat.arrayFlag
            block =
                WMIOBuilder(
                    properties: [.init(name: "Value", type: type, slot: le(items))],
                    heap: heap
                ).instanceBlock
        }
        guard case .tooLarge = self.error(WMIOBuilder.unit(block))?.problem else {
            Issue.record("accepted")
            return
        }
    }

    /// A class of many properties whose values lie in one place, and rows that say nothing but which class they have:
    /// each by itself is small, all of them together are fifty times what was sent.
    @Test func smallRowsOfALargeClass() throws {
        var builder = WMIOBuilder()
        builder.properties = (0..<160).map { .init(name: "P\($0)", type: CIMType.uint8.rawValue, offset: 0) }
        let first = packet(WMIOFormat.instanceObject, identifier: 1, builder.instanceBlock)
        let row = packet(WMIOFormat.instanceWithoutClassObject, identifier: 1, builder.instanceWithoutClassBlock)
        let limits = WMIOLimits()
        try #require(160 * MemoryLayout<WMIObject.State>.stride < limits.memoryFloor)
        try #require(160 * MemoryLayout<WMIObject.State>.stride > limits.memoryPerByte * row.count)
        var decoder = WMIObjectDecoder(limits: limits)
        #expect(try decoder.decode(objectArray: objectArray([first, row])[...]).count == 2)
        let bytes = objectArray([first] + [[UInt8]](repeating: row, count: 1000))
        let error = #expect(throws: WMIOError.self) { try decoder.decode(objectArray: bytes[...]) }
        #expect(error?.problem == .tooLarge(limit: limits.memoryPerByte * bytes.count))
    }

    @Test func sharedOrders() {
        var builder = WMIOBuilder()
        for order: Int in [0, 1, 1, 2] {
            builder.properties.append(.init(name: "P", type: CIMType.uint8.rawValue, order: order))
        }
        let error = self.error(WMIOBuilder.unit(builder.instanceBlock))
        #expect(error?.problem == .unexpected(field: "DeclarationOrder", value: 1))
        #expect(error?.section == .propertyInfo)
    }

    /// An object whose reference leads back to itself: its heap ends before it would.
    @Test func objectThatHoldsItself() {
        let inner = WMIOBuilder(
            properties: [.init(name: "Value", type: CIMType.object.rawValue, slot: le(UInt32(0)))]
        ).instanceBlock
        var heap = WMIOTestHeap()
        let reference = heap.add(le(UInt32(inner.count)) + inner)
        #expect(self.error(WMIOBuilder.instance(CIMType.object.rawValue, le(reference), heap: heap)) != nil)
    }

    /// What honest objects need stays far from the limit.
    @Test(arguments: WMIOFixture.allCases.filter(\.isValid))
    func honestObjectsNeedLittle(_ fixture: WMIOFixture) throws {
        let bytes = fixture.bytes
        var tight = WMIOLimits()
        tight.memoryPerByte = 6
        tight.memoryFloor = 0
        var decoder = WMIObjectDecoder(limits: tight)
        _ = try decoder.decode(bytes)
    }

    @Test func honestArrayOfBytes() throws {
        var heap = WMIOTestHeap()
        let items = heap.add(le(UInt32(50_000)) + [UInt8](repeating: 5, count: 50_000))
        let bytes = WMIOBuilder.instance(CIMType.uint8.rawValue | WMIOFormat.arrayFlag, le(items), heap: heap)
        var decoder = WMIObjectDecoder()
        #expect(try decoder.decode(bytes)["Value"]?.array?.count == 50_000)
    }

    // MARK: Fields with few values

    @Test func flags() {
        let block = WMIOBuilder().instanceBlock
        for flags: UInt8 in [0, 3, 4, 7] {
            #expect(self.error(WMIOBuilder.unit([flags] + block.dropFirst()))?.section != nil)
        }
        #expect(self.error(WMIOBuilder.unit(block)) == nil)
        #expect(self.error(le(UInt32(0x1234_5679)) + WMIOBuilder.unit(block).dropFirst(4))?.section == .encodingUnit)
    }

    @Test func typesAndOrders() {
        for type: UInt32 in [0, 1, 6, 7, 9, 12, 14, 22, 100, 104, 0x2000, 0x8003, 0xFFF] {
            let problem = self.error(WMIOBuilder.instance(type, [0, 0, 0, 0]))?.problem
            #expect(problem == .unknownType(type))
        }
        for order in [4, 255, 65_535] {
            var builder = WMIOBuilder()
            builder.properties = [
                .init(name: "A", type: CIMType.uint32.rawValue, slot: le(UInt32(0)), order: order)
            ]
            let error = self.error(WMIOBuilder.unit(builder.instanceBlock))
            #expect(error?.problem == .outsideTable(index: order, count: 4))
            #expect(error?.section == .ndTable)
        }
    }

    @Test func stringsWithoutEnd() {
        for bytes: [UInt8] in [[0, 65, 66], [1, 65, 0, 66, 0], [1, 65, 0, 0], [0], [1], [2, 65, 0], [0xFF, 0, 0]] {
            var builder = WMIOBuilder()
            builder.className = nil
            builder.properties = [.init(name: "A", type: CIMType.string.rawValue, slot: le(UInt32(0)))]
            var block = builder.instanceBlock
            // The instance's heap, which holds just the empty class name, is replaced.
            block.removeLast(6)
            block += le(UInt32(bytes.count)) + bytes
            let start = block.count - bytes.count - 4 - 5 - 5 - 9
            block.replaceSubrange(start..<start + 4, with: le(UInt32(9 + 5 + 5 + 4 + bytes.count)))
            #expect(self.error(WMIOBuilder.unit(block))?.section == .string)
        }
    }

    @Test func instanceQualifierFlag() {
        var block = WMIOBuilder().instanceBlock
        let flag = block.count - 1 - 4 - "Test".utf8.count - 2
        #expect(block[flag] == WMIOFormat.noPropertyQualifiers)
        for value: UInt8 in [0, 3, 255] {
            block[flag] = value
            #expect(self.error(WMIOBuilder.unit(block))?.section == .instanceQualifiers)
        }
    }

    /// Errors are for logs: one line, with the section of the specification, and never bytes of the object.
    @Test func descriptions() {
        let error = self.error([1, 2, 3])
        #expect(
            error?.description
                == "WMI object: EncodingUnit, [MS-WMIO] 2.2.1, offset 2: needs 2 bytes, 1 are left"
        )
    }
}
