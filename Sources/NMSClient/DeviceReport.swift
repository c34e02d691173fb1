package import struct Foundation.Date
internal import NMSCore

/// Devices as a table, and one of them in full.
package enum DeviceReport {
    package static func table(_ devices: [DeviceRecord], now: Date) -> TextTable {
        TextTable(
            columns: [
                TextColumn("ID", .trailing), TextColumn("NAME", minimum: 10), TextColumn("ADDRESS"),
                TextColumn("STATUS"), TextColumn("SEEN", .trailing, expendability: 2),
                TextColumn("OS", minimum: 8, expendability: 3), TextColumn("ERROR", minimum: 6, expendability: 1),
            ],
            rows: devices.map { device in
                [
                    TextCell("\(device.id)"), TextCell(device.hostname), TextCell(device.ip),
                    TextCell(device.status, .ofStatus(device.status)),
                    TextCell(Quantities.age(device.lastSeen.map { now.timeIntervalSince($0) })), TextCell(device.os),
                    TextCell(device.lastError?.code, .red),
                ]
            }
        )
    }

    package static func text(_ device: DeviceRecord, credentials: [CredentialRecord], now: Date, _ style: TextStyler)
        -> String
    {
        let names = device.credentialIds.map { id in
            credentials.first { $0.id == id }.map { PrintableText.of($0.name) } ?? "\(id)"
        }
        var facts: [(String, String)] = [
            ("id", "\(device.id)"), ("address", device.ip), ("hostname", device.hostname ?? "-"),
            ("os", device.os ?? "-"), ("status", style.apply(.ofStatus(device.status), to: device.status)),
            ("polled", "every \(device.pollingInterval) s"),
            ("credentials", names.isEmpty ? "-" : names.joined(separator: ", ")),
            ("last seen", self.moment(device.lastSeen, now)),
        ]
        if let error = device.lastError {
            facts.append(("last error", style.apply(.red, to: PrintableText.of("\(error.code): \(error.message)"))))
            facts.append(("", "\(self.moment(error.at, now)); \(self.reference(error.code))"))
        }
        let width = facts.map(\.0.count).max() ?? 0
        return facts.map { name, value in
            let padded = name + String(repeating: " ", count: width - name.count)
            // Styles are ours, the rest is made harmless above or here.
            return "\(style.apply(.dim, to: padded))  \(value.first == "\u{1B}" ? value : PrintableText.of(value))"
        }.joined(separator: "\n")
    }

    /// Where an error code is explained.
    package static func reference(_ code: String) -> String { "see docs/errors.md, \(PrintableText.of(code))" }

    private static func moment(_ date: Date?, _ now: Date) -> String {
        guard let date else { return "never" }
        return "\(RFC3339.string(from: date)), \(Quantities.age(now.timeIntervalSince(date))) ago"
    }
}

package enum CredentialReport {
    package static func table(_ credentials: [CredentialRecord]) -> TextTable {
        TextTable(
            columns: [
                TextColumn("ID", .trailing), TextColumn("NAME", minimum: 10), TextColumn("TYPE"),
                TextColumn("USER", minimum: 8), TextColumn("PORT", .trailing, expendability: 2),
                TextColumn("TLS", expendability: 2), TextColumn("STATUS"),
                TextColumn("TARGETS", minimum: 10, expendability: 1),
            ],
            rows: credentials.map { credential in
                [
                    TextCell("\(credential.id)"), TextCell(credential.name), TextCell(credential.credentialType),
                    TextCell(credential.domain.map { "\($0)\\\(credential.username)" } ?? credential.username),
                    TextCell("\(credential.port)"), TextCell(credential.useSsl ? credential.tlsVerify : "no"),
                    TextCell(credential.status, credential.status == "active" ? .green : .red),
                    TextCell(
                        credential.allowedTargets.isEmpty ? "all" : credential.allowedTargets.joined(separator: ", ")
                    ),
                ]
            }
        )
    }
}
