package import NMSCore

/// Poll targets from memory (specification §7): device data and decrypted credentials, each with its own TTL, dropped by
/// device events.
///
/// The owner feeds every event to ``apply(_:)`` and calls ``removeExpired()`` every `cache.cleanup_interval`.
package final class CachedPollTargets: PollTargetSource {
    private struct Entry: Sendable {
        let device: Device
        /// In the order in which they are to be tried.
        let credentialIDs: [Int]
    }

    private let devices: DeviceRepository
    private let credentials: CredentialRepository
    private let deviceCache: TTLCache<Int, Entry>
    private let credentialCache: TTLCache<Int, DecryptedCredential>

    /// - Parameters:
    ///   - deviceTTL: `cache.device_ttl`.
    ///   - credentialTTL: `cache.credential_ttl`.
    package init(
        devices: DeviceRepository,
        credentials: CredentialRepository,
        deviceTTL: Duration = .seconds(300),
        credentialTTL: Duration = .seconds(300),
        now: @escaping @Sendable () -> ContinuousClock.Instant = { ContinuousClock.now }
    ) {
        self.devices = devices
        self.credentials = credentials
        self.deviceCache = TTLCache(ttl: deviceTTL, now: now)
        self.credentialCache = TTLCache(ttl: credentialTTL, now: now)
    }

    /// nil when the device is gone or not provisioned. Suspended credentials are among the target's.
    ///
    /// A credential that can't be decrypted is left out.
    /// - Throws: `PostgresError`.
    package func pollTarget(deviceID: Int) async throws -> PollTarget? {
        let entry = try await self.deviceCache.value(for: deviceID) {
            guard let (device, ids) = try await self.devices.deviceInTrialOrder(id: deviceID),
                device.status != .discovered
            else { return nil }
            return Entry(device: device, credentialIDs: ids)
        }
        guard let entry else { return nil }
        var credentials: [DecryptedCredential] = []
        for id in entry.credentialIDs {
            let credential = try await self.credentialCache.value(for: id) {
                // One that no key opens must not keep the others from being used.
                do { return try await self.credentials.decrypted(id: id) } catch StorageError.undecryptable {
                    return nil
                }
            }
            // Deleted since the device was read, or unusable.
            if let credential { credentials.append(credential) }
        }
        return PollTarget(device: entry.device, credentials: credentials)
    }

    /// Drops what the event says has changed.
    package func apply(_ event: DeviceEvent) {
        switch event.event {
        case .statusChanged, .deviceUpdated, .deviceDeleted:
            if let id = event.deviceID { self.deviceCache.invalidate(id) } else { self.deviceCache.invalidateAll() }
        case .credentialUpdated:
            if let id = event.credentialID {
                self.credentialCache.invalidate(id)
            } else {
                self.credentialCache.invalidateAll()
            }
        case .metricsStored: break
        }
    }

    /// Drops everything, such as after events may have been missed.
    package func invalidateAll() {
        self.deviceCache.invalidateAll()
        self.credentialCache.invalidateAll()
    }

    /// Look-ups answered from memory and not, since the start.
    package var statistics: (devices: (hits: UInt64, misses: UInt64), credentials: (hits: UInt64, misses: UInt64)) {
        (self.deviceCache.statistics, self.credentialCache.statistics)
    }

    /// Frees what has expired; decrypted passwords among it.
    package func removeExpired() {
        self.deviceCache.removeExpired()
        self.credentialCache.removeExpired()
    }
}
