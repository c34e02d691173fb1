import NMSCore
import Testing

@Suite struct IPAddressTests {
    @Test(arguments: [
        ("127.0.0.1", "127.0.0.1"), ("::ffff:10.1.2.3", "10.1.2.3"), ("2001:DB8:0:0::1", "2001:db8::1"), ("::", "::"),
        ("FE80::0001", "fe80::1"),
    ])
    func canonicalForm(text: String, canonical: String) { #expect(IPAddress(text)?.description == canonical) }

    @Test(arguments: [
        "", "999.999.999.999", "1.2.3", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4/24", "fe80::1%eth0", "localhost",
        "1.2.3.4\0", "::1::2", "0x7f.1", "2130706433",
    ])
    func refused(text: String) { #expect(IPAddress(text) == nil) }

    @Test func networks() throws {
        let block = try #require(CIDRBlock("192.168.1.77/24"))
        #expect(block.description == "192.168.1.0/24")
        #expect(block.contains(IPAddress("192.168.1.255")!))
        #expect(!block.contains(IPAddress("192.168.2.0")!))
        #expect(!block.contains(IPAddress("::1")!))
        #expect(CIDRBlock("10.0.0.1")?.description == "10.0.0.1/32")
        #expect(CIDRBlock("0.0.0.0/0")!.contains(IPAddress("8.8.8.8")!))
        #expect(CIDRBlock("2001:db8::/33")!.contains(IPAddress("2001:db8:7fff::1")!))
        #expect(!CIDRBlock("2001:db8::/33")!.contains(IPAddress("2001:db8:8000::1")!))
        #expect(CIDRBlock("::ffff:10.0.0.0/104")?.description == "10.0.0.0/8")
    }

    @Test(arguments: ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8/8", "/8", "::/129", "x/8"])
    func refusedNetworks(text: String) { #expect(CIDRBlock(text) == nil) }

    @Test func targetPolicy() {
        let everything = TargetPolicy()
        #expect(everything.permits(IPAddress("10.0.0.1")!))
        for text in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"] {
            #expect(!everything.permits(IPAddress(text)!))
        }
        let loopback = TargetPolicy(allowed: [CIDRBlock("127.0.0.0/8")!])
        #expect(loopback.permits(IPAddress("127.9.9.9")!))
        #expect(!loopback.permits(IPAddress("10.0.0.1")!))
        // An explicit range never opens multicast.
        #expect(!TargetPolicy(allowed: [CIDRBlock("0.0.0.0/0")!]).permits(IPAddress("239.1.1.1")!))
    }
}
