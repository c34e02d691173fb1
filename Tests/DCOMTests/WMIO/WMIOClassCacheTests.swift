import DCOM
import Testing

@Suite struct WMIOClassCacheTests {
    private func unit(_ value: UInt32, name: String = "Test") -> [UInt8] {
        WMIOBuilder.unit(
            WMIOBuilder(
                className: name,
                properties: [.init(name: "Value", type: CIMType.uint32.rawValue, slot: le(value))]
            ).instanceBlock
        )
    }

    @Test func rowsShareTheirClass() throws {
        var decoder = WMIObjectDecoder()
        let first = try decoder.decode(self.unit(1))
        let second = try decoder.decode(self.unit(2))
        #expect(first.definition === second.definition)
        #expect(second["Value"] == .uint32(2))
    }

    /// The same class but for one byte is another class.
    @Test func everyByteCounts() throws {
        var decoder = WMIObjectDecoder()
        let first = try decoder.decode(self.unit(1, name: "TestA"))
        let second = try decoder.decode(self.unit(1, name: "TestB"))
        #expect(first.className == "TestA")
        #expect(second.className == "TestB")
        #expect(first.definition !== second.definition)
    }

    @Test func theClassUsedLeastRecentlyGoes() throws {
        var decoder = WMIObjectDecoder(limits: WMIOLimits(maximumCachedClasses: 2))
        let a = try decoder.decode(self.unit(1, name: "A")).definition
        let b = try decoder.decode(self.unit(1, name: "B")).definition
        #expect(try decoder.decode(self.unit(2, name: "A")).definition === a)
        _ = try decoder.decode(self.unit(1, name: "C"))
        #expect(try decoder.decode(self.unit(3, name: "A")).definition === a)
        #expect(try decoder.decode(self.unit(3, name: "B")).definition !== b)
    }

    @Test func longClassesAreNotKept() throws {
        var decoder = WMIObjectDecoder(limits: WMIOLimits(maximumCachedClassLength: 50))
        let first = try decoder.decode(self.unit(1)).definition
        #expect(try decoder.decode(self.unit(2)).definition !== first)
        var none = WMIObjectDecoder(limits: WMIOLimits(maximumCachedClasses: 0))
        _ = try none.decode(self.unit(1))
        #expect(try none.decode(self.unit(2))["Value"] == .uint32(2))
    }

    /// An object that could not be decoded leaves nothing that harms the next.
    @Test func errorsLeaveTheCacheUsable() throws {
        var decoder = WMIObjectDecoder()
        let bytes = WMIOFixture.utcTime.bytes
        #expect(throws: WMIOError.self) { try decoder.decode(bytes[..<(bytes.count - 4)]) }
        #expect(try decoder.decode(bytes)["Year"] == .uint32(2021))
    }
}
