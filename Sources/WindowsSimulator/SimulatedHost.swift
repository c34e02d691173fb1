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
        /// Remote references that a client never released; only DCOM has such.
        package var leakedReferences = 0

        private enum CodingKeys: String, CodingKey {
            case connections, authentications, requests, queries
            case openConnections = "open_connections"
            case failedLogins = "failed_logins"
            case openEnumerations = "open_enumerations"
            case leakedReferences = "leaked_references"
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

    private struct State {
        var activity = Activity()
        var enumerations: [String: Enumeration] = [:]
        var channels: [ObjectIdentifier: any Channel] = [:]
    }

    package let address: IPv4
    package let profile: HostProfile
    private let state = Mutex(State())

    package init(address: IPv4, profile: HostProfile) {
        self.address = address
        self.profile = profile
    }

    package var index: Int { self.profile.index }

    package var activity: Activity {
        self.state.withLock { state in
            var activity = state.activity
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

    // MARK: Enumerations

    /// Keeps an enumeration and gives its context; nil if the user has as many as the quota allows.
    func open(_ enumeration: Enumeration, limit: Int, now: FileTime) -> String? {
        self.state.withLock { state in
            if !state.enumerations.isEmpty {
                state.enumerations = state.enumerations.filter { $0.value.expires > now }
            }
            guard state.enumerations.count(where: { $0.value.user == enumeration.user }) < limit else { return nil }
            let context = XMLBuffer.freshUUID()
            state.enumerations[context] = enumeration
            return context
        }
    }

    /// How many enumerations a user has open.
    func openEnumerations(of user: String, now: FileTime) -> Int {
        self.state.withLock { state in
            state.enumerations.isEmpty
                ? 0 : state.enumerations.count { $0.value.user == user && $0.value.expires > now }
        }
    }

    /// Takes an enumeration out; nil for a context that is unknown, over or another user's.
    func take(_ context: String, user: String, now: FileTime) -> Enumeration? {
        self.state.withLock { state in
            guard let found = state.enumerations[context], found.user == user else { return nil }
            state.enumerations[context] = nil
            return found.expires > now ? found : nil
        }
    }

    /// Puts an enumeration back under its context.
    func putBack(_ enumeration: Enumeration, context: String) {
        self.state.withLock { $0.enumerations[context] = enumeration }
    }

    /// Forgets all enumerations, as a reboot does.
    func forgetEnumerations() {
        self.state.withLock { $0.enumerations = [:] }
    }
}

/// Ways in which real hosts differ without being broken.
struct HostQuirks: Sendable {
    /// Answers come with `Transfer-Encoding: chunked`.
    var chunksAnswers: Bool
    /// Header lines of sealed parts begin with a tab. pywinrm and pypsrp only understand these.
    var indentsPartHeaders: Bool
}

extension SimulatedHost {
    var quirks: HostQuirks {
        HostQuirks(chunksAnswers: self.index % 4 == 2, indentsPartHeaders: self.index % 16 != 15)
    }
}
