/// How polls move a device between its states; pure, so that writer and tests agree.
package struct DeviceStatusMachine: Sendable, Equatable {
    package var status: DeviceStatus
    /// Failed polls in a row.
    package var failures: Int
    package var lastError: DeviceError?

    package init(status: DeviceStatus, failures: Int, lastError: DeviceError? = nil) {
        self.status = status
        self.failures = failures
        self.lastError = lastError
    }

    /// Applies one result.
    ///
    /// - Parameter unreachableAfter: `polling.unreachable_after`, at least 1.
    package mutating func apply(_ result: MetricsResult, unreachableAfter: Int) {
        // A result that was under way when the device was deprovisioned changes nothing.
        guard self.status != .discovered else { return }
        if let code = result.errorCode {
            self.lastError = DeviceError(code: code, message: result.error ?? code.rawValue, at: result.timestamp)
        } else {
            self.lastError = nil
        }
        if result.success {
            self.failures = 0
            self.status = .monitoring
        } else if result.errorCode != .credentialSuspended {
            // A suspension alone says nothing about the host.
            self.failures += 1
            if self.failures >= unreachableAfter { self.status = .unreachable }
        }
    }
}
