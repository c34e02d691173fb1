internal import Foundation
internal import NMSCore

/// Lists of the API, whole, and things by the names that people have for them.
extension APIClient {
    private static let page = 1000

    /// - Parameters:
    ///   - query: further parameters, such as `status=monitoring`, percent-encoded.
    ///   - metrics: with the latest row of each.
    package func devices(_ query: [String] = [], metrics: Bool = false) async throws -> [DeviceRecord] {
        try await self.whole("/devices", query + (metrics ? ["include=metrics"] : [])) { data in
            try APIClient.decode(DevicePage.self, data).devices
        }
    }

    package func credentials() async throws -> [CredentialRecord] {
        try await self.whole("/credentials", []) { try APIClient.decode(CredentialPage.self, $0).credentials }
    }

    /// A list as it came, for `--json`.
    package func documents(_ path: String, _ query: [String], named name: String) async throws -> [JSONDocument] {
        try await self.whole(path, query) { try APIClient.object($0)[name] as? [JSONDocument] ?? [] }
    }

    private func whole<Item>(
        _ path: String,
        _ query: [String],
        _ items: (Data) throws -> [Item]
    ) async throws -> [Item] {
        var all: [Item] = []
        while true {
            let parameters = query + ["limit=\(Self.page)", "offset=\(all.count)"]
            let part = try items(try await self.get("\(path)?\(parameters.joined(separator: "&"))"))
            all += part
            if part.count < Self.page { return all }
        }
    }

    /// A device by its number, its address or its name.
    /// - Throws: ``CommandError`` when there is none, or more than one.
    package func device(_ reference: String) async throws -> DeviceRecord {
        if let id = Int(reference) { return try Self.decode(DeviceRecord.self, try await self.get("/devices/\(id)")) }
        let found = try await self.devices(matching: reference)
        guard let device = found.first else {
            throw CommandError("the server has no device \(PrintableText.of(reference))")
        }
        guard found.count == 1 else {
            let choices = found.map { "\($0.id) (\($0.ip))" }.joined(separator: ", ")
            throw CommandError("\(found.count) devices are called \(device.name): say which by number: \(choices)")
        }
        return device
    }

    /// Those with this address, or else with this name in any case.
    package func devices(matching reference: String) async throws -> [DeviceRecord] {
        let text = IPAddress(reference).map(\.description) ?? reference
        let found = try await self.devices(["search=\(Self.escaped(text))"])
        let byAddress = found.filter { $0.ip == text }
        return byAddress.isEmpty ? found.filter { $0.hostname?.lowercased() == text.lowercased() } : byAddress
    }

    /// Numbers of credentials by name (without case, as on the server) or number, in the order given.
    /// - Throws: ``CommandError`` that names those there are.
    package func credentialIDs(_ references: [String]) async throws -> [Int] {
        guard !references.isEmpty else { return [] }
        let known = try await self.credentials()
        return try references.map { reference in
            let byName = known.first { $0.name.lowercased() == reference.lowercased() }
            if let found = byName ?? known.first(where: { $0.id == Int(reference) }) { return found.id }
            let names = known.map { PrintableText.of($0.name) }.sorted().prefix(20).joined(separator: ", ")
            throw CommandError(
                "the server has no credential \(PrintableText.of(reference)); it has \(names.isEmpty ? "none" : names)"
            )
        }
    }

    /// A value of a query parameter.
    package static func escaped(_ text: String) -> String {
        let safe = CharacterSet(charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
        return text.addingPercentEncoding(withAllowedCharacters: safe) ?? ""
    }
}
