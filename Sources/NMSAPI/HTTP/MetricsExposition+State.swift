internal import NMSCore
internal import NMSStorage
internal import Prometheus
internal import Synchronization

extension APIServices {
    /// How long the numbers of devices are kept: several scrapers must not each count the table.
    private static let deviceCountsTTL: Duration = .seconds(5)

    /// Makes scrapes read what the API's services hold.
    func addSamplers(to registry: PrometheusRegistry, devices: DeviceRepository) {
        registry.addSampler("api_caches") { [auth, devices = self.devices, metrics] samples in
            let caches = [
                ("api_sessions", auth.cacheStatistics), ("api_devices", devices.cacheStatistics),
                ("api_metrics", metrics.cacheStatistics),
            ]
            for (name, statistics) in caches { samples.setCache(name, statistics) }
        }
        let counts = TTLCache<Int, [DeviceStatus: Int]>(ttl: Self.deviceCountsTTL)
        registry.addSampler("devices") { samples in
            let counts = try await counts.value(for: 0) { try await devices.countsByStatus() } ?? [:]
            for status in DeviceStatus.allCases {
                samples.set("nmslite_devices", [("status", status.rawValue)], to: counts[status] ?? 0)
            }
        }
    }
}

extension MetricSamples {
    /// Look-ups of one cache.
    package mutating func setCache(_ name: String, _ statistics: (hits: UInt64, misses: UInt64)) {
        self.set("nmslite_cache_hits_total", [("cache", name)], to: statistics.hits)
        self.set("nmslite_cache_misses_total", [("cache", name)], to: statistics.misses)
    }
}
