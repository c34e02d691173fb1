import Foundation
import HTTPTypes
import Testing

@testable import NMSAPI

/// Holds what the API answers in all tests against the document in the repository.
enum OpenAPIConformance {
    /// The document that is pinned.
    static let file = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().appending(path: "../../api/openapi.json").standardizedFileURL

    static let document: JSONValue? = (try? Data(contentsOf: Self.file)).flatMap { try? JSONParser.parse(Array($0)) }

    /// Records an issue when the document does not foresee the answer.
    static func check(_ method: HTTPRequest.Method, _ uri: String, _ reply: Reply) {
        guard let document = self.document else { return }
        let path = uri.split(separator: "?", maxSplits: 1).first.map(String.init) ?? uri
        guard let operation = self.operation(method, path, document) else { return }
        let response = operation["responses"]["\(reply.status)"]
        guard response != .null else {
            Issue.record("\(method) \(path) answered \(reply.status), which the document does not foresee")
            return
        }
        for name in response["headers"].names {
            let header = response["headers"][name]
            let schemas = OpenAPISchemaCheck(document: document)
            let resolved = (try? header["$ref"].text).flatMap(schemas.resolve) ?? header
            guard resolved["required"] == true, reply.header(name) == nil else { continue }
            Issue.record("\(method) \(path) answered \(reply.status) without \(name)")
        }
        guard case .object = response["content"], method != .head else { return }
        let found = OpenAPISchemaCheck(document: document)
            .violations(of: reply.json, by: response["content"]["application/json"]["schema"])
        #expect(found.isEmpty, "\(method) \(path) answered \(reply.status) \(reply.text)")
    }

    /// The operation that a request is meant for.
    static func operation(_ method: HTTPRequest.Method, _ path: String, _ document: JSONValue) -> JSONValue? {
        guard case .object(let paths) = document["paths"] else { return nil }
        let parts = path.split(separator: "/")
        let found = paths.first { candidate, _ in
            let own = candidate.split(separator: "/")
            return own.count == parts.count && zip(own, parts).allSatisfy { $0.hasPrefix("{") || $0 == $1 }
        }
        let operation = found?.value[method.rawValue.lowercased()] ?? .null
        return operation == .null ? nil : operation
    }
}
