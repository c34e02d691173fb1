package import struct Foundation.Date

/// One poll to be done: the payload of `nmslite.poll.jobs.{partition}` (specification §4.5, §6.2).
package struct PollJob: Codable, Sendable, Equatable {
    /// A UUID in lower case, of ``scheduledID(deviceID:at:)`` or random; also the message's `Nats-Msg-Id`.
    package var jobID: String
    package var deviceID: Int
    /// The credential that the publisher would try first.
    package var credentialID: Int
    package var scheduledAt: Date
    /// The device's polling interval in seconds: a job older than this is dropped, not run late.
    package var interval: Int
    /// Asked for by a person or by provisioning, not by the schedule.
    package var manual: Bool

    package init(
        jobID: String,
        deviceID: Int,
        credentialID: Int,
        scheduledAt: Date,
        interval: Int,
        manual: Bool = false
    ) {
        self.jobID = jobID
        self.deviceID = deviceID
        self.credentialID = credentialID
        self.scheduledAt = scheduledAt
        self.interval = interval
        self.manual = manual
    }

    enum CodingKeys: String, CodingKey {
        case jobID = "job_id"
        case deviceID = "device_id"
        case credentialID = "credential_id"
        case scheduledAt = "scheduled_at"
        case interval
        case manual
    }

    /// The id of the poll of a device that is scheduled for an instant, to the millisecond.
    ///
    /// The same in every process and every release, so that two leaders that overlap publish one job and not two.
    /// - Parameter clockStep: 0, or what tells the instants after the clock was set back from those before.
    /// - Returns: a UUID in lower case of version 8 (RFC 9562, section 5.8).
    package static func scheduledID(deviceID: Int, at scheduledAt: Date, clockStep: UInt64 = 0) -> String {
        let device = UInt64(bitPattern: Int64(deviceID)) ^ (clockStep == 0 ? 0 : Partition.stableHash(clockStep))
        let instant = UInt64(bitPattern: Int64((scheduledAt.timeIntervalSince1970 * 1000).rounded()))
        // Each half depends on all of both values, and for a given device no two instants share the first.
        let first = Partition.stableHash(Partition.stableHash(device) ^ instant)
        let second = Partition.stableHash(Partition.stableHash(~instant) ^ device)
        let high = first & ~0xF000 | 0x8000  // version 8
        let low = second & ~(0b11 << 62) | 0b10 << 62  // variant 10
        let digits = [high, low].map { half in
            let text = String(half, radix: 16)
            return String(repeating: "0", count: 16 - text.count) + text
        }
        .joined()
        var id = ""
        for (index, digit) in digits.enumerated() {
            if [8, 12, 16, 20].contains(index) { id.append("-") }
            id.append(digit)
        }
        return id
    }
}

/// Who a host says it is.
package struct HostIdentity: Codable, Sendable, Equatable {
    /// DNS host name, with the DNS domain when the host is a member of one.
    package var hostname: String?
    /// Caption, such as `Microsoft Windows Server 2022 Standard`.
    package var os: String?
    /// Build number, such as `20348`.
    package var build: String?

    package init(hostname: String? = nil, os: String? = nil, build: String? = nil) {
        self.hostname = hostname
        self.os = os
        self.build = build
    }
}

/// What a poll brought: the payload of `nmslite.metrics.results` (specification §4.5, §6.2).
package struct MetricsResult: Codable, Sendable, Equatable {
    package var jobID: String
    package var deviceID: Int
    /// The server's clock at the final sample, or at the failure.
    package var timestamp: Date
    package var success: Bool
    package var error: String?
    package var metrics: DeviceMetrics?
    /// Set when ``success`` is false, and with `counters_missing` on a success that lacks a group.
    package var errorCode: PollErrorCode?
    /// The credential that was used last; nil when none was.
    package var credentialID: Int?
    package var identity: HostIdentity?

    package init(
        jobID: String,
        deviceID: Int,
        timestamp: Date,
        success: Bool,
        error: String? = nil,
        metrics: DeviceMetrics? = nil,
        errorCode: PollErrorCode? = nil,
        credentialID: Int? = nil,
        identity: HostIdentity? = nil
    ) {
        self.jobID = jobID
        self.deviceID = deviceID
        self.timestamp = timestamp
        self.success = success
        self.error = error
        self.metrics = metrics
        self.errorCode = errorCode
        self.credentialID = credentialID
        self.identity = identity
    }

    enum CodingKeys: String, CodingKey {
        case jobID = "job_id"
        case deviceID = "device_id"
        case timestamp
        case success
        case error
        case metrics
        case errorCode = "error_code"
        case credentialID = "credential_id"
        case identity
    }
}

/// A change that every instance hears of: the payload of `nmslite.device.events` (specification §6.2).
package struct DeviceEvent: Codable, Sendable, Equatable {
    package enum Kind: String, Codable, Sendable, CaseIterable {
        case statusChanged = "status_changed"
        /// Settings, credentials or provisioning changed; the scheduler reads the device anew.
        case deviceUpdated = "device_updated"
        case deviceDeleted = "device_deleted"
        /// A credential was changed, resumed, suspended or deleted: cached secrets and warm connections end.
        case credentialUpdated = "credential_updated"
        /// New rows are committed for ``deviceIDs``.
        case metricsStored = "metrics_stored"
    }

    package var event: Kind
    package var deviceID: Int?
    package var newStatus: DeviceStatus?
    package var credentialID: Int?
    package var deviceIDs: [Int]?

    package init(
        _ event: Kind,
        deviceID: Int? = nil,
        newStatus: DeviceStatus? = nil,
        credentialID: Int? = nil,
        deviceIDs: [Int]? = nil
    ) {
        self.event = event
        self.deviceID = deviceID
        self.newStatus = newStatus
        self.credentialID = credentialID
        self.deviceIDs = deviceIDs
    }

    enum CodingKeys: String, CodingKey {
        case event
        case deviceID = "device_id"
        case newStatus = "new_status"
        case credentialID = "credential_id"
        case deviceIDs = "device_ids"
    }
}
