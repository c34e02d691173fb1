package import struct Foundation.Date
internal import NMSCore

/// What changed between two looks at the fleet.
package struct FleetEvent: Sendable, Equatable {
    package enum Kind: String, Sendable {
        case added, removed, status, error, recovered
    }

    package var at: Date
    package var kind: Kind
    package var deviceID: Int
    package var ip: String
    package var hostname: String?
    package var from: String?
    package var to: String?
    /// Of the error, where there is one.
    package var code: String?
    package var message: String?

    package func line(_ style: TextStyler) -> String {
        let name = PrintableText.of(self.hostname.map { "\($0) (\(self.ip))" } ?? self.ip)
        var text = "\(RFC3339.string(from: self.at))  \(name), device \(self.deviceID): "
        switch self.kind {
        case .added: text += "added, \(self.to ?? "")"
        case .removed: text += "removed"
        case .status:
            let new = self.to ?? ""
            text += "\(self.from ?? "") \(style.arrow) \(style.apply(.ofStatus(new), to: new))"
        case .error: text += style.apply(.red, to: "failed")
        case .recovered: text += style.apply(.green, to: "works again")
        }
        if let code { text += "  " + PrintableText.of("\(code): \(self.message ?? "")") }
        return text
    }

    package var document: JSONDocument {
        var document: JSONDocument = [
            "at": RFC3339.string(from: self.at), "event": self.kind.rawValue, "device_id": self.deviceID, "ip": self.ip,
        ]
        for (name, value) in [
            ("hostname", self.hostname), ("from", self.from), ("to", self.to), ("code", self.code),
            ("message", self.message),
        ] { document[name] = value }
        return document
    }

    /// - Parameter known: devices by number, as they were.
    package static func between(
        _ known: [Int: DeviceRecord],
        _ present: [DeviceRecord],
        at moment: Date
    ) -> [FleetEvent] {
        var events: [FleetEvent] = []
        func add(_ kind: Kind, _ device: DeviceRecord, from: String? = nil, error: DeviceRecord.Failure? = nil) {
            events.append(
                FleetEvent(
                    at: moment,
                    kind: kind,
                    deviceID: device.id,
                    ip: device.ip,
                    hostname: device.hostname,
                    from: from,
                    to: kind == .added || kind == .status ? device.status : nil,
                    code: error?.code,
                    message: error?.message
                )
            )
        }
        for device in present {
            guard let before = known[device.id] else {
                add(.added, device)
                continue
            }
            if before.status != device.status {
                add(.status, device, from: before.status, error: device.lastError)
            } else if let error = device.lastError, error.code != before.lastError?.code {
                add(.error, device, error: error)
            } else if device.lastError == nil, before.lastError != nil {
                add(.recovered, device)
            }
        }
        let ids = Set(present.map(\.id))
        for id in known.keys.sorted() where !ids.contains(id) { known[id].map { add(.removed, $0) } }
        return events
    }
}
