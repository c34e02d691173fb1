/// Why something with a host did not work. Never contains a password, a token or a key.
package struct WMIError: Error, Sendable, Hashable {
    /// Coarse kinds for callers that report in codes; they mean what those of WinRM mean.
    package enum Category: String, Sendable, Hashable, CaseIterable {
        case timeout
        case connectionRefused
        case connectionReset
        case hostUnreachable
        /// Of this machine, not of the host.
        case localShortage
        /// Wrong user name or password.
        case authenticationFailed
        /// Signing in was not possible with these credentials; no failed login on the host.
        case authenticationUnavailable
        case accessDenied
        case quotaExceeded
        /// A class that the host does not know.
        case missingClass
        /// Any other error of WMI or DCOM.
        case queryFailed
        case responseTooLarge
        case protocolError
        case cancelled
    }

    /// What was being done.
    package enum Step: String, Sendable, Hashable {
        case connecting = "connecting to the object resolver"
        case challenging = "signing in at the object resolver"
        case activating = "activating WMI (RemoteCreateInstance)"
        case connectingToExporter = "connecting to WMI's dynamic port"
        case signingInToExporter = "signing in at WMI's dynamic port"
        case openingNamespace = "opening the namespace (NTLMLogin)"
        case startingQuery = "starting the query (ExecQuery)"
        case fetching = "fetching rows (Next)"
        case releasing = "releasing references (RemRelease)"
        case pinging = "pinging the object resolver"
        case asking = "asking the object resolver (ServerAlive2)"

        /// Whether a connection that was in use before got that far.
        var isQuery: Bool {
            switch self {
            case .openingNamespace, .startingQuery, .fetching: true
            default: false
            }
        }
    }

    /// A code that the host has sent.
    package enum Status: Sendable, Hashable, CustomStringConvertible {
        case result(HRESULT)
        case fault(RPCStatus)

        package var description: String {
            switch self {
            case .result(let result): result.description
            case .fault(let status): status.description
            }
        }
    }

    package let category: Category
    /// Nil if nothing had begun.
    package let step: Step?
    /// Nil if the host did not say one.
    package let status: Status?
    /// Whether the host has counted a failed login, so that a lock-out is one step nearer.
    package let countsAsFailedLogin: Bool
    /// Whether the same query may be tried at once on a new connection: the host has let go of the objects or of the
    /// connection since they were last used.
    package let suggestsReconnect: Bool
    /// What it was, in words.
    let message: String
    /// Whether the connection is good for further queries.
    let leavesConnectionOpen: Bool
    /// Whether the host has refused an interface, rather than a call.
    let isInterfaceRefused: Bool

    init(
        _ category: Category,
        _ step: Step?,
        _ message: String,
        status: Status? = nil,
        countsAsFailedLogin: Bool = false,
        suggestsReconnect: Bool = false,
        leavesConnectionOpen: Bool = false,
        isInterfaceRefused: Bool = false
    ) {
        self.category = category
        self.step = step
        self.status = status
        self.countsAsFailedLogin = countsAsFailedLogin
        self.suggestsReconnect = suggestsReconnect
        self.message = message
        self.leavesConnectionOpen = leavesConnectionOpen
        self.isInterfaceRefused = isInterfaceRefused
    }
}

extension WMIError {
    /// Whether there is no way to WMI with whatever user: its dynamic port cannot be reached, or the host does not let
    /// anything be activated from remote. Other ways into the host may be open.
    package var isWayClosed: Bool {
        guard self.category != .cancelled else { return false }
        // The first of the refused interfaces is the one that counts; without pings alone, signing in goes on.
        return self.step == .connectingToExporter || (self.step == .challenging && self.isInterfaceRefused)
    }
}

extension WMIError: CustomStringConvertible {
    package var description: String {
        self.step.map { "\($0.rawValue): \(self.message)" } ?? self.message
    }
}

// MARK: - Where they come from

extension WMIError {
    static func cancelled(_ step: Step) -> WMIError {
        WMIError(.cancelled, step, "it was cancelled", leavesConnectionOpen: true)
    }

    /// Time ran out while the host still answered.
    static func timedOut(_ step: Step) -> WMIError {
        WMIError(.timeout, step, "the host did not finish in time", leavesConnectionOpen: true)
    }

    static func responseTooLarge(_ what: String) -> WMIError {
        WMIError(
            .responseTooLarge,
            .fetching,
            "the query brings more than \(what); narrow it down",
            leavesConnectionOpen: true
        )
    }

    /// The bytes of an answer make no sense, though they came whole.
    static func malformed(_ step: Step, _ error: some Error & CustomStringConvertible) -> WMIError {
        WMIError(.protocolError, step, "the answer cannot be read: \(error)", leavesConnectionOpen: true)
    }

    static func protocolViolation(_ step: Step, _ what: String) -> WMIError {
        WMIError(.protocolError, step, "the host does not follow the protocol: \(what)", leavesConnectionOpen: true)
    }

    static func misuse(_ what: String) -> WMIError {
        WMIError(.protocolError, nil, "the connection was used wrongly: \(what)", leavesConnectionOpen: true)
    }

    /// The connection was closed between two queries.
    static let closed = WMIError(
        .connectionReset,
        nil,
        "the connection is closed",
        suggestsReconnect: true
    )

    /// What RPC says.
    init(_ error: RPCError, during step: Step) {
        func make(
            _ category: Category,
            status: Status? = nil,
            countsAsFailedLogin: Bool = false,
            suggestsReconnect: Bool = false
        ) -> WMIError {
            WMIError(
                category,
                step,
                error.description,
                status: status,
                countsAsFailedLogin: countsAsFailedLogin,
                suggestsReconnect: suggestsReconnect,
                leavesConnectionOpen: error.leavesConnectionOpen,
                isInterfaceRefused: error.isInterfaceRejected
            )
        }
        switch error {
        case .timedOut, .notStarted: self = make(.timeout)
        case .connectionRefused: self = make(.connectionRefused)
        case .hostUnreachable: self = make(.hostUnreachable)
        case .localShortage: self = make(.localShortage)
        case .connectionReset: self = make(.connectionReset)
        case .connectionClosed: self = make(.connectionReset, suggestsReconnect: step.isQuery)
        case .responseTooLarge: self = make(.responseTooLarge)
        case .bindRejected(.temporaryCongestion, _), .bindRejected(.localLimitExceeded, _): self = make(.quotaExceeded)
        case .protocolViolation, .integrityFailed, .bindRejected, .interfaceRejected, .misuse:
            self = make(.protocolError)
        case .authenticationFailed(let why):
            self =
                step == .signingInToExporter || step.isQuery
                ? Self.deniedByExporter(step, why)
                : make(.authenticationFailed, countsAsFailedLogin: error.countsAsFailedLogin)
        case .authenticationUnavailable: self = make(.authenticationUnavailable)
        case .accessDenied: self = make(.accessDenied, status: .fault(.accessDenied))
        case .fault(let status, _): self.init(status, during: step)
        case .cancelled: self = make(.cancelled)
        }
    }

    /// The first call on the dynamic port was refused as if the password were wrong.
    ///
    /// It hardly is: the object resolver has accepted it a moment ago. The process behind the port has its own access
    /// rights (DCOM's access permissions and the machine-wide limits), and denies by the same fault. A password that was
    /// changed in that moment shows with the next sign-in.
    private static func deniedByExporter(_ step: Step, _ why: String) -> WMIError {
        WMIError(
            .accessDenied,
            step,
            "the user may sign in but not call WMI from remote; grant DCOM remote access"
                + (why.isEmpty ? "" : " (\(why))"),
            status: .fault(.accessDenied)
        )
    }

    /// A fault instead of an answer. Faults may carry HRESULTs.
    init(_ status: RPCStatus, during step: Step) {
        if HRESULT(status.rawValue).isFailure {
            self.init(HRESULT(status.rawValue), during: step, status: .fault(status))
            return
        }
        let category: Category
        var reconnect = false
        switch status {
        case .accessDenied: category = .accessDenied
        case .rpcServerTooBusy, .serverTooBusy: category = .quotaExceeded
        case RPCStatus(rawValue: 0x1C00_001B), RPCStatus(rawValue: 0x0000_000E): category = .quotaExceeded
        case .rpcCallFailed, .rpcCallFailedDidNotExecute, RPCStatus(rawValue: 0x0000_06BA):
            category = .connectionReset
            reconnect = step.isQuery
        default: category = .protocolError
        }
        self.init(
            category,
            step,
            "the host answered with the fault \(status)",
            status: .fault(status),
            suggestsReconnect: reconnect,
            leavesConnectionOpen: !reconnect
        )
    }

    /// A failure that a method has returned.
    ///
    /// On real hosts a wrong password is a fault 0x00000005 on the first request of a connection, and never gets here;
    /// 0x80070005 as the result of an activation means that the user has no right to launch or activate remotely.
    init(_ result: HRESULT, during step: Step) {
        self.init(result, during: step, status: .result(result))
    }

    private init(_ result: HRESULT, during step: Step, status: Status) {
        let category = Self.categories[result] ?? .queryFailed
        let isGone = category == .connectionReset
        self.init(
            category,
            step,
            "the host answered with \(result)" + (Self.hint(result, step).map { "; \($0)" } ?? ""),
            status: status,
            suggestsReconnect: isGone && step.isQuery,
            leavesConnectionOpen: !isGone
        )
    }

    private static func hint(_ result: HRESULT, _ step: Step) -> String? {
        switch (result, step) {
        case (.accessDenied, .activating): "the user needs the right to launch and activate DCOM objects from remote"
        case (.wbemAccessDenied, .openingNamespace):
            "the user needs the rights Enable Account and Remote Enable on the namespace"
        case (.wbemInvalidNamespace, _): "the host has no such namespace"
        case (.remoteDisabled, _): "DCOM is disabled on the host"
        default: nil
        }
    }

    /// Results by kind; everything else is a query that failed.
    private static let categories: [HRESULT: Category] = {
        let kinds: [(Category, [HRESULT])] = [
            (
                .accessDenied,
                [
                    .accessDenied, .launchPermissionDenied, .callAccessDenied, .remoteDisabled, .wbemAccessDenied,
                    .wbemPrivilegeNotHeld, .wbemEncryptedConnectionRequired,
                ]
            ),
            (.missingClass, [.wbemNotFound, .wbemInvalidClass]),
            // The host has not the means now; asking less often helps, asking again at once does not.
            (
                .quotaExceeded,
                [
                    .wbemQuotaViolation, .wbemOutOfMemory, .wbemOutOfDiskSpace, .wbemServerTooBusy, .wbemQueueOverflow,
                    .notEnoughMemory, .outOfMemory, .noSystemResources, .serverTooBusy, .outOfResources, .retry,
                    .retryLater,
                ]
            ),
            (.timeout, [.wbemTimedOutError, .wbemProviderTimedOut, .callTimedOut]),
            // The object, its process, or the way to it is gone: reclaimed because nobody pinged, or restarted.
            (
                .connectionReset,
                [
                    .disconnected, .objectNotRegistered, .objectNotConnected, .invalidIPID, .invalidObject,
                    .connectionTerminated, .serverDied, .serverDiedBeforeExecuting, .serverUnavailable, .callFailed,
                    .callFailedBeforeExecuting, .wbemTransportFailure, .wbemShuttingDown,
                ]
            ),
            (
                .protocolError,
                [
                    .versionMismatch, .invalidHeader, .invalidExtension, .invalidDataPacket, .invalidData,
                    .invalidObjectReference,
                ]
            ),
        ]
        var categories: [HRESULT: Category] = [:]
        for (category, results) in kinds {
            for result in results { categories[result] = category }
        }
        return categories
    }()
}

extension RPCError {
    fileprivate var isInterfaceRejected: Bool {
        if case .interfaceRejected = self { true } else { false }
    }
}
