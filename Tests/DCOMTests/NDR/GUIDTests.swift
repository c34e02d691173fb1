import DCOM
import Testing

@Suite("GUIDs") struct GUIDTests {
    /// [MS-DTYP] 2.3.4.1: the first three fields are little-endian numbers, the rest goes in its order.
    private let text = "8a885d04-1ceb-11c9-9fe8-08002b104860"
    private let wire: [UInt8] = [
        0x04, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11, 0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60,
    ]

    @Test func `The wire form mixes the order of bytes`() throws {
        let guid = try #require(GUID(self.text))
        #expect(guid.wire == self.wire)
        #expect(GUID(wire: self.wire) == guid)
        #expect(guid.description == self.text)
        #expect(guid == "{8A885D04-1CEB-11C9-9FE8-08002B104860}")
    }

    @Test(arguments: [
        "", "8a885d04-1ceb-11c9-9fe8-08002b10486", "8a885d04-1ceb-11c9-9fe8-08002b1048600",
        "8a885d04+1ceb-11c9-9fe8-08002b104860", "8a885d04-1ceb-11c9-9fe8-08002b10486g",
        "{8a885d04-1ceb-11c9-9fe8-08002b104860", "8a885d041ceb11c99fe808002b104860",
    ])
    func `Anything else is not a GUID`(text: String) {
        #expect(GUID(text) == nil)
    }

    @Test func `Leading zeros stay`() {
        #expect(GUID(1, 2, 3, 4).description == "00000001-0002-0003-0000-000000000004")
        #expect(GUID.null.description == "00000000-0000-0000-0000-000000000000")
    }

    @Test func `A random GUID says that it is one`() {
        #expect(
            GUID(random: [UInt8](repeating: 0xFF, count: 16))?.description == "ffffffff-ffff-4fff-bfff-ffffffffffff"
        )
        #expect(GUID(random: [1]) == nil)
        #expect(GUID(wire: [UInt8](repeating: 0, count: 17)) == nil)
    }
}
