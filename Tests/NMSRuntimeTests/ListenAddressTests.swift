import NMSCore
import Testing

@testable import NMSRuntime

@Suite struct ListenAddressTests {
    @Test(arguments: [
        ("127.0.0.1:9464", "127.0.0.1", 9464), ("127.8.9.10:0", "127.8.9.10", 0), ("[::1]:65535", "::1", 65_535),
    ])
    func loopbackAddressesAreTaken(_ text: String, _ host: String, _ port: Int) throws {
        let address = try #require(ListenAddress(loopback: text))
        #expect(address.host == host && address.port == port)
        #expect(address.description == text)
    }

    @Test(arguments: [
        "0.0.0.0:9464", "[::]:9464", "192.168.1.1:9464", "128.0.0.1:9464", "[fe80::1]:9464", "[::ffff:10.0.0.1]:9464",
        "localhost:9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:+80", "127.0.0.1:-1", ":9464",
        "::1:9464", "[127.0.0.1]:9464", "[::1]", "::1", "", "127.0.0.1:94640", "127.1:9464", " 127.0.0.1:9464",
        "127.0.0.1:٣",
    ])
    func whatOthersCouldReachIsRefused(_ text: String) {
        #expect(ListenAddress(loopback: text) == nil)
    }

    @Test func theKeysAreRead() throws {
        let yaml = """
            metrics:
              scrape_token: "0123456789abcdef0123456789abcdef"
              listen: "[::1]:9464"
            """
        let metrics = try ConfigurationFixture.file(yaml).load().configuration.metrics
        #expect(metrics.listen == ListenAddress(loopback: "[::1]:9464"))
        #expect(metrics.scrapeToken?.exposed == "0123456789abcdef0123456789abcdef")
        #expect(Configuration.defaults.metrics.listen == nil && Configuration.defaults.metrics.scrapeToken == nil)
    }

    /// A token that no header could carry would answer 401 for ever.
    @Test(arguments: [
        "short", "0123456789 abcdef0123456789abcdef", "0123456789äbcdef0123456789abcdef",
        "=123456789abcdef0123456789abcdef0",
    ])
    func aTokenThatNoHeaderCarriesIsRefusedAndNotRepeated(_ token: String) throws {
        let fixture = ConfigurationFixture.file("metrics:\n  scrape_token: \"\(token)\"\n")
        let error = try #require(throws: ConfigurationErrors.self) { try fixture.load() }
        #expect("\(error)".contains("metrics.scrape_token") && !"\(error)".contains(token))
    }

    @Test func anotherAddressIsAnErrorThatSaysWhy() throws {
        let fixture = ConfigurationFixture.file("metrics:\n  listen: \"0.0.0.0:9464\"\n")
        let error = try #require(throws: ConfigurationErrors.self) { try fixture.load() }
        #expect("\(error)".contains("metrics.listen") && "\(error)".contains("0.0.0.0:9464"))
        #expect("\(error)".contains("loopback") && "\(error)".contains("metrics.scrape_token"))
    }
}
