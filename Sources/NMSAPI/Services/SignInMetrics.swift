package import Metrics

/// Counts logins and exchanges of refresh tokens.
package struct SignInMetrics: Sendable {
    enum Login: String, CaseIterable {
        case success
        /// Wrong username or password.
        case failure
        /// Refused unread after too many failures.
        case throttled
    }

    enum Refresh: String, CaseIterable {
        case success
        /// Unknown or expired.
        case failure
        /// Used a second time: its session was revoked, someone may have stolen it.
        case reused
    }

    private let logins: [Login: Counter]
    private let refreshes: [Refresh: Counter]

    package init(factory: any MetricsFactory = MetricsSystem.factory) {
        func counter(_ label: String, _ result: String) -> Counter {
            Counter(label: label, dimensions: [("result", result)], factory: factory)
        }
        self.logins = Dictionary(
            uniqueKeysWithValues: Login.allCases.map { ($0, counter("nmslite_sign_ins_total", $0.rawValue)) }
        )
        self.refreshes = Dictionary(
            uniqueKeysWithValues: Refresh.allCases.map { ($0, counter("nmslite_token_refreshes_total", $0.rawValue)) }
        )
    }

    func login(_ login: Login) { self.logins[login]?.increment() }
    func refresh(_ refresh: Refresh) { self.refreshes[refresh]?.increment() }
}
