import NIOCore
import Synchronization

/// One host of the fleet: its profile, what it has seen, and its open enumerations.
package final class SimulatedHost: Sendable {
    /// What the host has seen since the simulator started.
    package struct Activity: Sendable, Hashable, Encodable {
        /// TCP connections accepted.
        package var connections = 0
        /// Connections that are open now.
        package var openConnections = 0
        /// Logins that succeeded: one for each NTLM exchange, one for the first Basic request of a connection.
        package var authentications = 0
        /// Logins with a wrong user or password, or without the channel binding that the host wants.
        package var failedLogins = 0
        /// WS-Management requests that were read.
        package var requests = 0
        /// Answers of queries by class, in lower case.
        package var queries: [String: Int] = [:]
        /// Open enumerations now.
        package var openEnumerations = 0
        /// References to DCOM objects that clients may still release.
        package var heldReferences = 0
        /// References to DCOM objects that their client left behind or did not ping in time, those included that were
        /// reclaimed since.
        package var leakedReferences = 0
        /// Releases of DCOM references that were not held.
        package var excessReleases = 0

        private enum CodingKeys: String, CodingKey {
            case connections, authentications, requests, queries
            case openConnections = "open_connections"
            case failedLogins = "failed_logins"
            case openEnumerations = "open_enumerations"
            case heldReferences = "held_references"
            case leakedReferences = "leaked_references"
            case excessReleases = "excess_releases"
        }
    }

    /// An enumeration between Enumerate and its end.
    struct Enumeration: Sendable {
        var plan: WMIPlan
        /// The instant that all of its items are of.
        var snapshot: HostSnapshot
        var remaining: ArraySlice<Int>
        var user: String
        var expires: FileTime
    }

    /// Open enumerations by context.
    private struct EnumerationTable {
        private var byContext: [String: Enumeration] = [:]
        private var counts: [String: Int] = [:]
        /// No enumeration ends before this, so that most requests need not look at all of them.
        private var nextExpiry = FileTime(ticks: .max)

        var count: Int { self.byContext.count }

        func count(of user: String) -> Int { self.counts[user] ?? 0 }

        mutating func insert(_ enumeration: Enumeration, under context: String) {
            self.byContext[context] = enumeration
            self.counts[enumeration.user, default: 0] += 1
            self.nextExpiry = min(self.nextExpiry, enumeration.expires)
        }

        mutating func remove(_ context: String, user: String) -> Enumeration? {
            guard let found = self.byContext[context], found.user == user else { return nil }
            self.byContext[context] = nil
            self.counts[user, default: 1] -= 1
            return found
        }

        mutating func purge(_ now: FileTime) {
            guard now >= self.nextExpiry else { return }
            let remaining = self.byContext.filter { $0.value.expires > now }
            self = EnumerationTable()
            for (context, enumeration) in remaining { self.insert(enumeration, under: context) }
        }
    }

    private struct State {
        var activity = Activity()
        var enumerations = EnumerationTable()
        var channels: [ObjectIdentifier: any Channel] = [:]
        var exporter: DCOMExporter
    }

    package let address: IPv4
    package let profile: HostProfile
    private let state: Mutex<State>

    package init(
        address: IPv4,
        profile: HostProfile,
        objectTimes: SimulatorConfiguration.ObjectTimes = SimulatorConfiguration.ObjectTimes()
    ) {
        self.address = address
        self.profile = profile
        let exporter = DCOMExporter(seed: UInt64.random(in: 0 ... .max), times: objectTimes)
        self.state = Mutex(State(exporter: exporter))
    }

    package var index: Int { self.profile.index }

    /// What the host has seen until now, by the system's clock.
    package var activity: Activity { self.activity(at: .now()) }

    package func activity(at now: FileTime) -> Activity {
        self.state.withLock { state in
            var activity = state.activity
            activity.heldReferences = state.exporter.heldReferences(now)
            activity.leakedReferences = state.exporter.leakedReferences(now)
            activity.excessReleases = state.exporter.excessReleases
            activity.openConnections = state.channels.count
            activity.openEnumerations = state.enumerations.count
            return activity
        }
    }

    func count(_ change: (inout Activity) -> Void) {
        self.state.withLock { change(&$0.activity) }
    }

    // MARK: Connections

    func opened(_ channel: any Channel) {
        self.state.withLock { state in
            state.activity.connections += 1
            state.channels[ObjectIdentifier(channel)] = channel
        }
    }

    func closed(_ channel: any Channel) {
        self.state.withLock { state in
            state.channels[ObjectIdentifier(channel)] = nil
        }
    }

    var openChannels: [any Channel] {
        self.state.withLock { Array($0.channels.values) }
    }

    /// Works on the objects that clients hold over DCOM.
    func withExporter<Result>(_ body: (inout DCOMExporter) -> Result) -> Result {
        self.state.withLock { body(&$0.exporter) }
    }

    // MARK: Enumerations

    /// Keeps an enumeration and gives its context; nil if the user has as many as the quota allows.
    func open(_ enumeration: Enumeration, limit: Int, now: FileTime) -> String? {
        self.state.withLock { state in
            state.enumerations.purge(now)
            guard state.enumerations.count(of: enumeration.user) < limit else { return nil }
            let context = XMLBuffer.freshUUID()
            state.enumerations.insert(enumeration, under: context)
            return context
        }
    }

    /// How many enumerations a user has open.
    func openEnumerations(of user: String, now: FileTime) -> Int {
        self.state.withLock { state in
            state.enumerations.purge(now)
            return state.enumerations.count(of: user)
        }
    }

    /// Takes an enumeration out; nil for a context that is unknown, over or another user's.
    func take(_ context: String, user: String, now: FileTime) -> Enumeration? {
        self.state.withLock { state in
            state.enumerations.purge(now)
            return state.enumerations.remove(context, user: user)
        }
    }

    /// Puts an enumeration back under its context.
    func putBack(_ enumeration: Enumeration, context: String) {
        self.state.withLock { $0.enumerations.insert(enumeration, under: context) }
    }

    /// Forgets all enumerations and objects, as a reboot does.
    func forgetEnumerations() {
        self.state.withLock { state in
            state.enumerations = EnumerationTable()
            state.exporter.restart()
        }
    }
}

/// Ways in which real hosts differ without being broken.
struct HostQuirks: Sendable {
    /// Answers come with `Transfer-Encoding: chunked`.
    var chunksAnswers: Bool
    /// Header lines of sealed parts begin with a tab. pywinrm and pypsrp only understand these.
    var indentsPartHeaders: Bool
    /// How classes are encoded over DCOM.
    var classes: DCOMPlan.Quirks
}

extension SimulatedHost {
    var quirks: HostQuirks {
        HostQuirks(
            chunksAnswers: self.index % 4 == 2,
            indentsPartHeaders: self.index % 16 != 15,
            classes: DCOMPlan.Quirks(
                inheritsDefaults: self.index % 8 == 3,
                leavesGarbage: self.index % 8 == 5,
                hidesSuperclasses: self.index % 2 == 1
            )
        )
    }
}
