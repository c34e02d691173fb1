internal import NMSCore

/// How one part of the system is.
package struct ComponentHealth: Sendable, Equatable, Encodable {
    package enum Status: String, Sendable, Encodable, CaseIterable {
        case up
        /// Works, with less than it should have; the whole stays healthy.
        case degraded
        case down
    }

    package var status: Status
    /// A short text for everyone: no address, no path, no secret.
    package var message: String?

    package init(_ status: Status, message: String? = nil) {
        self.status = status
        self.message = message
    }

    enum CodingKeys: String, CodingKey { case status, message }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.status, forKey: .status)
        try container.encode(self.message, forKey: .message)
    }
}

/// A part of the system that can be asked how it is.
package struct HealthComponent: Sendable {
    package let name: String
    package let check: @Sendable () async -> ComponentHealth

    package init(_ name: String, check: @escaping @Sendable () async -> ComponentHealth) {
        self.name = name
        self.check = check
    }
}

/// How the system is as a whole.
struct HealthReport: Sendable, Equatable {
    var components: [String: ComponentHealth]

    var isHealthy: Bool { !self.components.values.contains { $0.status == .down } }
}

/// Asks every component, all at once and each with a deadline; anyone may call, so answers are kept for a second.
package struct HealthService: Sendable {
    static let cacheTTL: Duration = .seconds(1)

    private let components: [HealthComponent]
    private let timeout: Duration
    private let cache: TTLCache<String, HealthReport>

    package init(components: [HealthComponent], timeout: Duration = .seconds(2), clocks: APIClocks = APIClocks()) {
        self.components = components
        self.timeout = timeout
        self.cache = TTLCache(ttl: Self.cacheTTL, now: clocks.monotonic)
    }

    func report() async -> HealthReport {
        let report = await self.cache.value(for: "report") { await self.ask() }
        return report ?? HealthReport(components: [:])
    }

    private func ask() async -> HealthReport {
        let answers = await withTaskGroup(of: (String, ComponentHealth).self) { group in
            for component in self.components {
                group.addTask { (component.name, await Self.check(component, timeout: self.timeout)) }
            }
            return await group.reduce(into: [String: ComponentHealth]()) { $0[$1.0] = $1.1 }
        }
        return HealthReport(components: answers)
    }

    /// The component's answer, or "down" at the deadline.
    ///
    /// Not a task group: that would wait for a check that hangs in a blocking call, just when it matters most.
    private static func check(_ component: HealthComponent, timeout: Duration) async -> ComponentHealth {
        let (answers, continuation) = AsyncStream.makeStream(of: ComponentHealth.self)
        let check = Task { continuation.yield(await component.check()) }
        let timer = Task {
            try? await Task.sleep(for: timeout)
            continuation.yield(ComponentHealth(.down, message: "no answer in time"))
        }
        defer {
            check.cancel()
            timer.cancel()
        }
        for await answer in answers { return answer }
        return ComponentHealth(.down, message: "no answer")
    }
}
