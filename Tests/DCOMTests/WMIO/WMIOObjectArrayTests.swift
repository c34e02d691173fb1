import DCOM
import Testing

/// The answers of the smart enumerator, [MS-WMI] 2.2.14.
@Suite struct WMIOObjectArrayTests {
    private func row(_ value: UInt32, name: String = "Test") -> WMIOBuilder {
        WMIOBuilder(
            className: name,
            properties: [
                .init(name: "Value", type: CIMType.uint32.rawValue, slot: le(value)),
                .init(
                    name: "Default",
                    type: CIMType.uint32.rawValue,
                    classFlags: 0,
                    classSlot: le(UInt32(77)),
                    flags: 0b10
                ),
            ]
        )
    }

    private func with(_ identifier: UInt8, _ row: WMIOBuilder) -> [UInt8] {
        packet(WMIOFormat.instanceObject, identifier: identifier, row.instanceBlock)
    }

    private func without(_ identifier: UInt8, _ row: WMIOBuilder) -> [UInt8] {
        packet(WMIOFormat.instanceWithoutClassObject, identifier: identifier, row.instanceWithoutClassBlock)
    }

    @Test func laterRowsReferToTheClass() throws {
        var decoder = WMIObjectDecoder()
        let bytes = objectArray([
            self.with(1, self.row(10)), self.without(1, self.row(11)), self.without(1, self.row(12)),
        ])
        let rows = try decoder.decode(objectArray: bytes[...])
        #expect(rows.map { $0["Value"] } == [.uint32(10), .uint32(11), .uint32(12)])
        #expect(rows.allSatisfy { $0["Default"] == .uint32(77) && $0.className == "Test" })
        #expect(rows[0].definition === rows[2].definition)
    }

    @Test func classesLastForTheEnumeration() throws {
        var decoder = WMIObjectDecoder()
        _ = try decoder.decode(objectArray: objectArray([self.with(1, self.row(10))])[...])
        let later = objectArray([self.without(1, self.row(11))])
        #expect(try decoder.decode(objectArray: later[...]).map { $0["Value"] } == [.uint32(11)])
        decoder.beginEnumeration()
        let error = #expect(throws: WMIOError.self) { _ = try decoder.decode(objectArray: later[...]) }
        #expect(error?.problem == .unknownClass)
        #expect(error?.section == .packetObject)
    }

    @Test func severalClasses() throws {
        var decoder = WMIObjectDecoder()
        let bytes = objectArray([
            self.with(1, self.row(10, name: "A")), self.with(2, self.row(20, name: "B")),
            self.without(1, self.row(11, name: "A")), self.without(2, self.row(21, name: "B")),
        ])
        #expect(try decoder.decode(objectArray: bytes[...]).map(\.className) == ["A", "B", "A", "B"])
    }

    @Test func classesAndOtherPacketTypes() throws {
        var decoder = WMIObjectDecoder()
        let bytes = objectArray(
            [packet(WMIOFormat.classObject, self.row(0).classBlock)],
            type: WMIOFormat.indicatePacket
        )
        let objects = try decoder.decode(objectArray: bytes[...])
        #expect(objects.map(\.kind) == [.class])
        #expect(objects[0]["Default"] == .uint32(77))
        #expect(try decoder.decode(objectArray: objectArray([])[...]).isEmpty)
    }

    @Test func publicInstanceInAnArray() throws {
        var decoder = WMIObjectDecoder()
        let block = Array(WMIOFixture.utcTime.bytes.dropFirst(8))
        let bytes = objectArray([packet(WMIOFormat.instanceObject, identifier: 3, block)])
        #expect(try decoder.decode(objectArray: bytes[...])[0]["Second"] == .uint32(35))
    }

    @Test func instanceWithoutClassMayBeDecorated() throws {
        var decoder = WMIObjectDecoder()
        var second = self.row(2)
        second.server = "HOST"
        second.namespace = "root"
        let bytes = objectArray([self.with(1, self.row(1)), self.without(1, second)])
        #expect(try decoder.decode(objectArray: bytes[...])[1].server == "HOST")
    }

    @Test func classesAreLimited() throws {
        var decoder = WMIObjectDecoder(limits: WMIOLimits(maximumClassesPerEnumeration: 2))
        let packets = (1...3).map { self.with($0, self.row(UInt32($0))) }
        #expect(try decoder.decode(objectArray: objectArray(Array(packets[0..<2]) + [packets[0]])[...]).count == 3)
        let error = #expect(throws: WMIOError.self) { _ = try decoder.decode(objectArray: objectArray(packets)[...]) }
        #expect(error?.problem == .tooManyClasses(limit: 2))
    }

    @Test func wrongHeaders() throws {
        let bytes = objectArray([self.with(1, self.row(10))])
        let fields: [(offset: Int, name: String)] = [
            (0, "dwByteOrdering"), (4, "abSignature"), (12, "dwSizeOfHeader1"), (20, "dwFlags"), (24, "bVersion"),
            (25, "bPacketType"), (26, "dwSizeOfHeader2"), (34, "dwSizeOfHeader3"), (46, "dwSizeOfHeader"),
            (54, "bObjectType"), (55, "dwSizeOfHeader"),
        ]
        for (offset, name) in fields {
            var wrong = bytes
            wrong[offset] ^= 0x40
            var decoder = WMIObjectDecoder()
            let error = #expect(throws: WMIOError.self) { _ = try decoder.decode(objectArray: wrong[...]) }
            guard case .unexpected(let field, _) = error?.problem else {
                Issue.record("\(name): \(String(describing: error))")
                continue
            }
            #expect(field == name)
        }
    }

    /// Counts and lengths that reach further than the message are refused before anything is allocated.
    @Test func hostileCountsAndLengths() throws {
        let row = self.with(1, self.row(10))
        var decoder = WMIObjectDecoder()
        for count in [UInt32(2), 1000, .max] {
            #expect(throws: WMIOError.self) { try decoder.decode(objectArray: objectArray([row], count: count)[...]) }
        }
        let bytes = objectArray([row])
        for offset in [16, 30, 38, 50, 59] {
            for value in [UInt32.max, 0x7FFF_FFFF, UInt32(bytes.count)] {
                var wrong = bytes
                wrong.replaceSubrange(offset..<offset + 4, with: le(value))
                #expect(throws: WMIOError.self) { try decoder.decode(objectArray: wrong[...]) }
            }
        }
    }
}
