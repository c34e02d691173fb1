package import struct Foundation.Date

/// Where a device stands (specification §5.2).
package enum DeviceStatus: String, Codable, Sendable, CaseIterable {
    case discovered
    case provisioned
    case monitoring
    case unreachable
}

/// A Windows machine (specification §4.2).
package struct Device: Sendable, Equatable {
    package var id: Int
    /// Canonical textual form, as ``IPAddress/description`` gives it.
    package var ip: String
    package var hostname: String?
    package var os: String?
    package var status: DeviceStatus
    /// Seconds between polls, 5…86400.
    package var pollingInterval: Int
    package var lastSeen: Date?
    /// Why the last poll failed or was incomplete; nil after a complete one.
    package var lastError: DeviceError?
    /// Credentials in the order in which they are tried; empty unless provisioned.
    package var credentialIDs: [Int]
    package var createdAt: Date
    package var updatedAt: Date

    /// The range of ``pollingInterval``, in seconds.
    package static let pollingIntervalRange = 5...86_400
    /// ``pollingInterval`` where neither request nor configuration says another, in seconds.
    package static let defaultPollingInterval = 60

    package init(
        id: Int,
        ip: String,
        hostname: String? = nil,
        os: String? = nil,
        status: DeviceStatus = .discovered,
        pollingInterval: Int = Device.defaultPollingInterval,
        lastSeen: Date? = nil,
        lastError: DeviceError? = nil,
        credentialIDs: [Int] = [],
        createdAt: Date,
        updatedAt: Date
    ) {
        self.id = id
        self.ip = ip
        self.hostname = hostname
        self.os = os
        self.status = status
        self.pollingInterval = pollingInterval
        self.lastSeen = lastSeen
        self.lastError = lastError
        self.credentialIDs = credentialIDs
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

/// What went wrong at a device's last poll.
package struct DeviceError: Codable, Sendable, Equatable {
    package var code: PollErrorCode
    package var message: String
    package var at: Date

    package init(code: PollErrorCode, message: String, at: Date) {
        self.code = code
        self.message = message
        self.at = at
    }
}
