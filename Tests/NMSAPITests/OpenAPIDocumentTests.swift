import Foundation
import HTTPTypes
import NMSStorage
import Testing

@testable import NMSAPI

/// The document as a whole: pinned, complete and consistent in itself.
@Suite struct OpenAPIDocumentTests {
    /// Set to 1, it makes the golden test write `api/openapi.json` anew instead of comparing:
    /// `NMSLITE_UPDATE_OPENAPI=1 swift test --filter OpenAPIDocumentTests`.
    static let updateVariable = "NMSLITE_UPDATE_OPENAPI"

    private static func withTable(_ body: @Sendable (EndpointTable, JSONValue) async throws -> Void) async throws {
        try await Harness.with { harness, _ in
            let configuration = APIConfiguration(jwtSecret: Harness.jwtSecret)
            let table = EndpointTable(services: try await APIServices(harness.dependencies, configuration))
            try await body(table, table.document.json)
        }
    }

    @Test func isTheOneInTheRepository() async throws {
        try await Self.withTable { table, _ in
            let served = String(decoding: table.document.bytes, as: UTF8.self)
            if ProcessInfo.processInfo.environment[Self.updateVariable] == "1" {
                let folder = OpenAPIConformance.file.deletingLastPathComponent()
                try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
                try Data(table.document.bytes).write(to: OpenAPIConformance.file)
            }
            let pinned = try String(contentsOf: OpenAPIConformance.file, encoding: .utf8)
            let difference = zip(served.split(separator: "\n"), pinned.split(separator: "\n")).first { $0 != $1 }
            #expect(
                served == pinned,
                """
                The document has changed, first at \(difference.map { "\($0) instead of \($1)" } ?? "its end"). If that is \
                wanted, run this test with \(Self.updateVariable)=1 and commit api/openapi.json
                """
            )
        }
    }

    @Test(arguments: ["/openapi.json", "//openapi.json"])
    func isServedToEveryone(path: String) async throws {
        try await Harness.with { _, api in
            let reply = try await api.get(path)
            #expect(reply.status == 200)
            #expect(reply.header("Content-Type") == "application/json")
            #expect(reply.header("Cache-Control") == "no-cache")
            #expect(reply.json["openapi"] == "3.1.0")
            let etag = try required(reply.header("ETag"))
            for sent in [etag, "W/\(etag)", "\"another\", \(etag)", "*"] {
                let again = try await api.call(.get, path, headers: ["If-None-Match": sent])
                #expect(again.status == 304, "\(sent)")
                #expect(again.text.isEmpty)
                #expect(again.header("ETag") == etag)
                #expect(again.header("X-Request-ID") != nil)
            }
            #expect(try await api.call(.get, path, headers: ["If-None-Match": "\"another\""]).status == 200)
            #expect(try await api.get("\(path)?pretty=1").status == 400)
        }
    }

    @Test func holdsEveryEndpointAndNothingElse() async throws {
        try await Self.withTable { table, document in
            var expected: Set<String> = []
            for endpoint in table.endpoints {
                expected.insert("\(endpoint.method.rawValue.lowercased()) \(endpoint.path)")
            }
            let found = document["paths"].names.flatMap { path in
                document["paths"][path].names.map { "\($0) \(path)" }
            }
            #expect(Set(found) == expected)
            #expect(found.count == expected.count)
        }
    }

    @Test func saysAllThatThereIsToSayOfAnOperation() async throws {
        try await Self.withTable { table, document in
            var ids: Set<String> = []
            for endpoint in table.endpoints {
                let name = "\(endpoint.method) \(endpoint.path)"
                let operation = document["paths"][endpoint.path][endpoint.method.rawValue.lowercased()]
                let isNew = ids.insert(try operation["operationId"].text).inserted
                #expect(isNew, "\(name)")
                let summary = try operation["summary"].text
                #expect(!summary.isEmpty && !summary.hasSuffix(".") && summary.first?.isUppercase == true, "\(name)")
                #expect(!(try operation["description"].text).isEmpty, "\(name)")
                #expect(operation["tags"].count == 1, "\(name)")
                try self.checkAccess(endpoint, operation)
                try self.checkParameters(endpoint, operation)
                try self.checkResponses(endpoint, operation)
                #expect((operation["requestBody"] == .null) == (endpoint.types.body.presence == .none), "\(name)")
            }
        }
    }

    private func checkAccess(_ endpoint: Endpoint, _ operation: JSONValue) throws {
        switch endpoint.access {
        case .open:
            #expect(operation["security"] == [])
            #expect(operation["x-required-role"] == .null)
        case .role(let role):
            #expect(operation["security"] == [["bearerAuth": []]])
            #expect(operation["x-required-role"] == .string(role.rawValue))
            #expect(try operation["description"].text.contains("For `admin`"))
            #expect(operation["responses"]["401"] != .null)
            #expect((operation["responses"]["403"] != .null) || role == .viewer)
        }
    }

    private func checkParameters(_ endpoint: Endpoint, _ operation: JSONValue) throws {
        guard case .array(let parameters) = operation["parameters"] else {
            #expect(!endpoint.path.contains("{"))
            return
        }
        for parameter in parameters {
            #expect(!(try parameter["description"].text).isEmpty, "\(endpoint.path) \(parameter["name"])")
            #expect(parameter["schema"]["type"] != .null, "\(endpoint.path) \(parameter["name"])")
        }
        let inPath = try parameters.filter { $0["in"] == "path" }.map { "{\(try $0["name"].text)}" }
        #expect(inPath == endpoint.path.split(separator: "/").map(String.init).filter { $0.hasPrefix("{") })
    }

    private func checkResponses(_ endpoint: Endpoint, _ operation: JSONValue) throws {
        let responses = operation["responses"]
        let always: Set<String> = [
            "\(endpoint.operation.answer.status.code)", "400", "413", "415", "429", "500", "503",
        ]
        #expect(responses.names.isSuperset(of: always), "\(endpoint.path)")
        for status in responses.names {
            #expect(responses[status]["headers"]["X-Request-ID"] != .null, "\(endpoint.path) \(status)")
            #expect(!(try responses[status]["description"].text).isEmpty, "\(endpoint.path) \(status)")
            #expect((responses[status]["content"] == .null) == (status == "304"), "\(endpoint.path) \(status)")
        }
        #expect(responses["429"]["headers"]["Retry-After"] != .null)
        #expect(responses["401"] == .null || responses["401"]["headers"]["WWW-Authenticate"] != .null)
    }

    @Test func everyReferenceLeadsSomewhereAndNoSchemaIsIdle() async throws {
        try await Self.withTable { _, document in
            let check = OpenAPISchemaCheck(document: document)
            var used: Set<String> = []
            Self.visit(document) { name, value in
                guard name == "$ref", case .string(let reference) = value else { return }
                #expect(check.resolve(reference) != nil, "\(reference)")
                used.insert(reference)
            }
            for name in document["components"]["schemas"].names {
                #expect(used.contains("#/components/schemas/\(name)"), "\(name)")
            }
        }
    }

    @Test func everyLinkLeadsToAnOperationThatTakesIt() async throws {
        try await Self.withTable { table, document in
            let byID = Dictionary(uniqueKeysWithValues: table.endpoints.map { ($0.operation.id, $0) })
            for endpoint in table.endpoints {
                for link in endpoint.operation.links {
                    let name = "\(endpoint.operation.id) → \(link.operationID)"
                    let target = try #require(byID[link.operationID], "\(name)")
                    for (parameter, expression) in link.parameters {
                        #expect(target.path.contains("{\(parameter)}"), "\(name)")
                        try self.check(expression, endpoint, name)
                    }
                    guard case .object(let members) = link.body else { continue }
                    #expect(
                        members.keys.allSatisfy { target.types.body.schema.json["properties"][$0] != .null },
                        "\(name)"
                    )
                    for expression in members.values { try self.check(try expression.text, endpoint, name) }
                }
            }
        }
    }

    /// A runtime expression must find something in the example of the answer.
    private func check(_ expression: String, _ endpoint: Endpoint, _ name: String) throws {
        if expression.hasPrefix("$request.path.") {
            #expect(endpoint.path.contains("{\(expression.dropFirst("$request.path.".count))}"), "\(name)")
            return
        }
        #expect(expression.hasPrefix("$response.body#/data/"), "\(name)")
        var value = try #require(endpoint.types.data).example
        for part in expression.dropFirst("$response.body#/data/".count).split(separator: "/") {
            if case .array(let elements) = value {
                value = elements[try #require(Int(part))]
            } else {
                value = value[String(part)]
            }
        }
        #expect(value != .null, "\(name)")
    }

    @Test func examplesAreWhatTheySayTheyAre() async throws {
        try await Self.withTable { table, document in
            let check = OpenAPISchemaCheck(document: document)
            for endpoint in table.endpoints {
                if let data = endpoint.types.data {
                    #expect(check.violations(of: data.example, by: data.schema.json) == [], "\(data)")
                }
                let body = endpoint.types.body
                #expect(check.violations(of: body.example, by: body.schema.json) == [], "\(body)")
                #expect(throws: Never.self, "\(body)") { try body.init(body.example) }
            }
        }
    }

    private static func visit(_ value: JSONValue, _ found: (String, JSONValue) -> Void) {
        switch value {
        case .object(let members):
            for (name, member) in members {
                found(name, member)
                self.visit(member, found)
            }
        case .array(let elements): for element in elements { self.visit(element, found) }
        default: break
        }
    }
}
