import Foundation
import Testing

@testable import NMSAPI

/// Decoders and schemas must give the same verdict on everything: here on a lot of values that are near the edges.
@Suite struct OpenAPIRuleTests {
    private static let check = OpenAPISchemaCheck(document: .object([:]))

    static let bodies: [any RequestBody.Type] = [
        LoginRequest.self, RefreshRequest.self, CreateCredentialRequest.self, UpdateCredentialRequest.self,
        CreateDeviceRequest.self, UpdateDeviceRequest.self, ProvisionRequest.self, DiscoverRequest.self,
        TestDeviceRequest.self, NoBody.self,
    ]

    static let queries: [any RequestQuery.Type] = [
        NoQuery.self, DeviceListQuery.self, CredentialListQuery.self, HistoryQuery.self, AuditQuery.self,
        DiscoveryListQuery.self, DiscoveryQuery.self,
    ]

    /// Words, addresses, networks, names, times: right ones, wrong ones and nearly right ones.
    static let texts: [String] = [
        "", " ", "a", "a b", "-a", "a-", "a.", ".a", "a..b", "a_b", "A-1.b_2", "é", "e\u{301}", "🙂", "a\nb", "a\n",
        "\n",
        "a\t", "\u{0}", "a\u{0}", "\u{7F}", "\u{85}", "\u{9F}", "\u{A0}", "\u{A0}a", "\u{2003}", "\u{2028}", "\u{3000}",
        "\u{FEFF}", "\u{200B}", "\u{180E}", "\u{E000}", "\u{10FFFF}", "\u{FFFE}", "a:b", "a\\b", "a/b", "a@b", "a,b",
        "a\"b",
        "a|b", "a<b", "a*b", "a?b", "CORP", "corp.example.com", "wmi", "winrm_basic", "winrm_ntlm", "WMI", "full",
        "chain", "none", "active", "monitoring", "true", "null", "0", "1", "-1", "+1", "01", "1.0", "1e1", "65535",
        "65536",
        "2147483647", "2147483648", "9999999999999999999999", "١", "50", "1000", "1001", "10000", "10001",
        "id", "-id", "--id", "ip", "-last_seen", "name", "-created_at", "raw", "1m", "6h", "auto", "2m", "cpu",
        "cpu,disk",
        "cpu,cpu", "cpu,", ",cpu", "cpu, disk", "process_count,cpu,memory,disk,network", "device.created", "device",
        "1.2.3.4", "01.2.3.4", "1.2.3.04", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4/24",
        "1.2.3.4/0", "1.2.3.4/32", "1.2.3.4/33", "1.2.3.4/024", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/+8", "1.2.3.4/8/8",
        "0.0.0.0/0", "::", "::1", "1::", "::/0", "::1/128", "::1/129", "::1/01", "2001:db8::1", "2001:DB8::1",
        "2001:db8::/32", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7::8", "1:2::4:5:6:7:8", "1::3:4:5:6:7:8", "1::2::3", ":::", ":1", "1:", "12345::", "g::",
        "fe80::1%eth0",
        "::ffff:1.2.3.4", "::1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5::1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4",
        "::ffff:1.2.3.4/120", "64:ff9b::1.2.3.4/96", "::1.2.3", "::01.2.3.4", "1.2.3.4::",
        "1:2:3:4:5::1.2.3.4/64", "[::1]",
        "2025-12-03T10:05:00Z", "2025-12-03t10:05:00z", "2025-12-03T10:05:00.5Z", "2025-12-03T10:05:00.123456789Z",
        "2025-12-03T10:05:00.1234567891Z", "2025-12-03T10:05:00.Z", "2025-12-03T10:05:00+01:00",
        "2025-12-03T10:05:00-23:59", "2025-12-03T10:05:00+24:00", "2025-12-03T10:05:00+0100", "2025-12-03T10:05:00",
        "2025-12-03", "2025-12-03T10:05Z", "2025-12-03T24:00:00Z", "2025-12-03T10:60:00Z", "2025-12-03T10:05:60Z",
        "2025-13-03T10:05:00Z", "2025-00-03T10:05:00Z", "2025-12-00T10:05:00Z", "2025-12-32T10:05:00Z",
        "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00+23:59", "9998-12-31T23:59:59-23:59",
        "9999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "12025-12-03T10:05:00Z", "٢٠٢٥-12-03T10:05:00Z",
        String(repeating: "a", count: 63), String(repeating: "a", count: 64), String(repeating: "a", count: 72),
        String(repeating: "a", count: 255), String(repeating: "a", count: 256), String(repeating: "🙂", count: 255),
        String(repeating: "e\u{301}", count: 128), String(repeating: "a", count: 1024),
        String(repeating: "a", count: 1025), String(repeating: "a.", count: 126) + "a",
        String(repeating: "a.", count: 127) + "a",
    ]

    static let values: [JSONValue] =
        Self.texts.map(JSONValue.string) + [
            .null, true, false, 0, 1, -1, 4, 5, 60, 86_400, 86_401, 65_535, 65_536, 2_147_483_647, 2_147_483_648,
            .integer(.max), .integer(.min), 0.5, 1.5, 1e300, [], [1], [1, 1], [1, 2], [0], ["1"], [1.5], [.null], [[1]],
            .array((1...16).map { .integer($0) }), .array((1...17).map { .integer($0) }), ["10.0.0.0/8"],
            ["10.0.0.0/8", "10.0.0.0/8"], ["10.0.0.0/8", "x"], ["10.0.0.1"], [""],
            .array((0..<256).map { .string("10.0.0.\($0)") }), .array((0..<257).map { .string("10.0.1.\($0 % 256)") }),
            [:], ["a": 1],
        ]

    @Test(arguments: Self.bodies.indices)
    func bodiesAndTheirSchemasAgree(index: Int) throws {
        let body = Self.bodies[index]
        let schema = body.schema.json
        guard case .object(let example) = body.example else { throw HarnessError.missing }
        self.compare(body, .object(example), schema)
        for name in schema["properties"].names.union(["unknown"]) {
            self.compare(body, .object(example.filter { $0.key != name }), schema)
            for value in Self.values {
                self.compare(body, .object(example.merging([name: value]) { $1 }), schema)
            }
        }
        for value in Self.values {
            if case .object = value { continue }
            #expect(throws: ServiceError.self) { try body.init(value) }
        }
    }

    /// Rules of several fields, which `anyOf` and `oneOf` tell.
    @Test func combinationsAgree() {
        let flags: [JSONValue?] = [nil, true, false]
        for type in ["wmi", "winrm_basic", "winrm_ntlm"] {
            for username in ["administrator", "a:b"] {
                for useSSL in flags {
                    for basic in flags {
                        var body: [String: JSONValue] = [
                            "name": "c", "credential_type": .string(type), "username": .string(username),
                            "password": "p",
                        ]
                        body["use_ssl"] = useSSL
                        body["allow_unencrypted_basic"] = basic
                        self.compare(CreateCredentialRequest.self, .object(body), CreateCredentialRequest.schema.json)
                    }
                }
            }
        }
        for body: JSONValue in [
            ["subnet": "10.0.0.1"], ["subnet": "10.0.0.1", "auto_provision": true],
            ["subnet": "10.0.0.1", "auto_provision": false],
            ["subnet": "10.0.0.1", "auto_provision": true, "credential_ids": [1]],
        ] {
            self.compare(DiscoverRequest.self, body, DiscoverRequest.schema.json)
        }
        for body: JSONValue in [
            [:], ["credential_id": 1], ["credential_ids": [1]], ["credential_id": 1, "credential_ids": [1]],
            ["polling_interval": 60],
        ] {
            self.compare(ProvisionRequest.self, body, ProvisionRequest.schema.json)
        }
    }

    private func compare(_ body: any RequestBody.Type, _ value: JSONValue, _ schema: JSONValue) {
        let violations = Self.check.violations(of: value, by: schema)
        let isAccepted = (try? body.init(value)) != nil
        #expect(isAccepted == violations.isEmpty, "\(body) \(value): \(violations)")
    }

    @Test(arguments: Self.queries.indices)
    func queriesAndTheirParametersAgree(index: Int) throws {
        let query = Self.queries[index]
        var allowed = CharacterSet.alphanumerics
        allowed.insert(charactersIn: "-._~:")
        for parameter in query.parameters {
            for text in Self.texts {
                let schema = parameter.schema.json
                let value: JSONValue =
                    switch schema["type"] {
                    case "integer": StrictInteger.parse(text).map(JSONValue.integer) ?? .string(text)
                    case "array":
                        .array(text.split(separator: ",", omittingEmptySubsequences: false).map { .string(String($0)) })
                    default: .string(text)
                    }
                let violations = Self.check.violations(of: value, by: schema)
                let encoded = text.addingPercentEncoding(withAllowedCharacters: allowed) ?? ""
                let isAccepted = (try? query.init("\(parameter.name)=\(encoded)")) != nil
                #expect(isAccepted == violations.isEmpty, "\(query) \(parameter.name)=\(text): \(violations)")
            }
        }
        #expect(throws: ServiceError.self) { try query.init("unknown=1") }
        #expect(throws: Never.self) { try query.init("") }
    }

    @Test(arguments: PathParameter.allCases)
    func pathsAndTheirParametersAgree(parameter: PathParameter) {
        let uuids = [
            "3f1f3f5e-8d3b-4b8e-9c39-5f1c0e1d9a11", "3F1F3F5E-8D3B-4B8E-9C39-5F1C0E1D9A11",
            "3f1f3f5e8d3b4b8e9c395f1c0e1d9a11", "{3f1f3f5e-8d3b-4b8e-9c39-5f1c0e1d9a11}",
        ]
        for text in Self.texts + uuids {
            let value: JSONValue =
                parameter == .id ? StrictInteger.parse(text).map(JSONValue.integer) ?? .string(text) : .string(text)
            let violations = Self.check.violations(of: value, by: parameter.schema.json)
            let isAccepted = (try? parameter.check(text)) != nil
            #expect(isAccepted == violations.isEmpty, "\(text): \(violations)")
        }
    }

    /// A recording reader must be asked for the same fields as a real one: branches around reads would hide some.
    @Test func everyBodyOfTheTableIsInTheseTests() async throws {
        try await Harness.with { harness, _ in
            let configuration = APIConfiguration(jwtSecret: Harness.jwtSecret)
            let table = EndpointTable(services: try await APIServices(harness.dependencies, configuration))
            for endpoint in table.endpoints {
                #expect(Self.bodies.contains { $0 == endpoint.types.body }, "\(endpoint.types.body)")
                #expect(Self.queries.contains { $0 == endpoint.types.query }, "\(endpoint.types.query)")
            }
        }
    }
}
