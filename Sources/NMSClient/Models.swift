package import struct Foundation.Date

/// A device as the API tells of it; what it does not say is nil.
package struct DeviceRecord: Decodable, Sendable, Equatable {
    package struct Failure: Decodable, Sendable, Equatable {
        package var code: String
        package var message: String
        package var at: Date
    }

    package var id: Int
    package var ip: String
    package var hostname: String?
    package var os: String?
    package var status: String
    package var pollingInterval: Int
    package var lastSeen: Date?
    package var lastError: Failure?
    package var credentialIds: [Int]
    package var createdAt: Date?
    /// Only where they were asked for, and measured.
    package var metrics: MetricsRecord?

    /// What people call it.
    package var name: String { PrintableText.of(self.hostname ?? self.ip) }
}

/// A row of metrics.
package struct MetricsRecord: Decodable, Sendable, Equatable {
    package struct CPU: Decodable, Sendable, Equatable { package var usagePercent: Double? }
    package struct Space: Decodable, Sendable, Equatable {
        package var totalBytes: Double?
        package var usedBytes: Double?
        package var usagePercent: Double?
    }
    package struct Network: Decodable, Sendable, Equatable {
        package var bytesSentPerSec: Double?
        package var bytesRecvPerSec: Double?
        package var utilizationPercent: Double?
        package var packetsSent: Double?
        package var packetsRecv: Double?
        package var errors: Double?
        package var dropped: Double?
    }

    package var timestamp: Date
    package var cpu: CPU
    package var memory: Space
    package var disk: Space
    package var network: Network
    package var processCount: Int?
    package var collectionDurationMs: Int?
}

package struct CredentialRecord: Decodable, Sendable, Equatable {
    package var id: Int
    package var name: String
    package var credentialType: String
    package var username: String
    package var domain: String?
    package var port: Int
    package var useSsl: Bool
    package var tlsVerify: String
    package var allowedTargets: [String]
    package var status: String
}

struct DevicePage: Decodable { var devices: [DeviceRecord] }
struct CredentialPage: Decodable { var credentials: [CredentialRecord] }

extension TextStyle {
    /// How a device's status looks.
    package static func ofStatus(_ status: String) -> TextStyle? {
        switch status {
        case "monitoring": .green
        case "provisioned": .cyan
        case "unreachable": .red
        case "discovered": .dim
        default: nil
        }
    }

    /// How a share in percent looks: yellow from 75, red from 90.
    package static func ofPercent(_ value: Double?) -> TextStyle? {
        switch value {
        case .some(90...): .red
        case .some(75...): .yellow
        default: nil
        }
    }
}
