import HTTPTypes
import NMSStorage
import Testing

@testable import NMSAPI

/// What is judged together, and how exactly it is named.
@Suite struct OpenAPIRequestTests {
    @Test func pathQueryAndBodyAreJudgedTogether() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            let reply = try await api.put(
                "/devices/x?dry_run=1&dry_run=2",
                #"{"ip":"1","polling_interval":4,"os":1,"a":1}"#
            )
            #expect(reply.status == 400)
            let named = (0..<reply.details["errors"].count).map { reply.details["errors"][$0]["field"] }
            #expect(named == ["id", "dry_run", "dry_run", "ip", "os", "polling_interval", "a"])
            #expect(reply.details["field"] == "id")
            #expect(reply.details["value"] == "x")
            #expect(reply.message == "id must be an integer from 1 to 2147483647")
        }
    }

    @Test(arguments: [
        "/health?x=1", "/devices/1?x=1", "/credentials/1?x=1", "/devices/1/metrics?from=2025-12-03T10:00:00Z",
    ])
    func parametersThatAnEndpointDoesNotHaveAreRefused(path: String) async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            #expect(try await api.get(path).status == 400)
        }
    }

    @Test func wholeNumbersMayBeWrittenAsTheyLike() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            for (index, number) in ["60", "60.0", "6e1", "600E-1"].enumerated() {
                let reply = try await api.post(
                    "/devices",
                    #"{"ip":"192.0.2.\#(index + 1)","polling_interval":\#(number)}"#
                )
                #expect(reply.data["polling_interval"] == 60, "\(number)")
            }
            for number in ["60.5", "6e400", "1e18", "-60", "060", "99999999999999999999999"] {
                let reply = try await api.post("/devices", #"{"ip":"192.0.2.9","polling_interval":\#(number)}"#)
                #expect(reply.status == 400, "\(number)")
            }
        }
    }

    /// `POST …/poll` and others take no body: an empty object is as good as none, a field is one too many.
    @Test func bodiesWhereNoneIsExpected() async throws {
        try await Harness.with { _, api in
            let api = try await api.signedIn()
            let id = try await api.makeDevice()
            #expect(try await api.post("/devices/\(id)/deprovision", "{}").status == 200)
            #expect(try await api.post("/devices/\(id)/deprovision", #"{"now":true}"#).status == 400)
            #expect(try await api.post("/devices/\(id)/deprovision", "[]").status == 400)
            #expect(try await api.call(.get, "/devices/\(id)", #"{"a":1}"#).status == 400)
            #expect(try await api.call(.delete, "/devices/\(id)", #"{"a":1}"#).status == 400)
            #expect(try await api.get("/devices/\(id)").status == 200)
        }
    }

    @Test func elementsOfArraysAreNamedByTheirIndex() throws {
        let rule = FieldRule<[Int]>.array(of: .port, 1...4, unique: true)
        func errors(_ value: JSONValue) -> [String] {
            guard case .failure(let violation) = rule.read("ports", value) else { return [] }
            return violation.elements.isEmpty ? ["ports"] : violation.elements.map(\.field)
        }
        #expect(errors([1, 2]) == [])
        #expect(errors([1, 0, "x", 1]) == ["ports[1]", "ports[2]", "ports[3]"])
        #expect(errors([]) == ["ports"])
        #expect(errors([1, 2, 3, 4, 5]) == ["ports"])
        #expect(errors(.null) == ["ports"])
    }
}
