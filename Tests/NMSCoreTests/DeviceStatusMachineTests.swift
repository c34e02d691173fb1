import Foundation
import NMSCore
import Testing

@Suite struct DeviceStatusMachineTests {
    let time = Date(timeIntervalSince1970: 1_764_756_300)

    func good() -> MetricsResult { MetricsResult(jobID: "j", deviceID: 1, timestamp: self.time, success: true) }
    func bad(_ code: PollErrorCode) -> MetricsResult {
        MetricsResult(jobID: "j", deviceID: 1, timestamp: self.time, success: false, error: "why", errorCode: code)
    }

    @Test func theWholeLife() {
        var machine = DeviceStatusMachine(status: .provisioned, failures: 0)
        machine.apply(self.bad(.timeout), unreachableAfter: 3)
        #expect(machine.status == .provisioned && machine.lastError?.code == .timeout)
        machine.apply(self.good(), unreachableAfter: 3)
        #expect(machine == DeviceStatusMachine(status: .monitoring, failures: 0))
        for _ in 1...2 { machine.apply(self.bad(.connectionRefused), unreachableAfter: 3) }
        #expect(machine.status == .monitoring)
        machine.apply(self.bad(.connectionRefused), unreachableAfter: 3)
        #expect(machine.status == .unreachable)
        #expect(machine.lastError == DeviceError(code: .connectionRefused, message: "why", at: self.time))
        machine.apply(self.good(), unreachableAfter: 3)
        #expect(machine == DeviceStatusMachine(status: .monitoring, failures: 0))
    }

    @Test func failuresMustBeInARow() {
        var machine = DeviceStatusMachine(status: .monitoring, failures: 0)
        for _ in 1...10 {
            machine.apply(self.bad(.timeout), unreachableAfter: 2)
            machine.apply(self.good(), unreachableAfter: 2)
        }
        #expect(machine.status == .monitoring)
    }

    @Test func aSuspensionAloneNeverMakesADeviceUnreachable() {
        var machine = DeviceStatusMachine(status: .monitoring, failures: 2)
        for _ in 1...10 { machine.apply(self.bad(.credentialSuspended), unreachableAfter: 3) }
        #expect(machine.status == .monitoring && machine.failures == 2)
        #expect(machine.lastError?.code == .credentialSuspended)
    }

    @Test func anIncompleteSuccessKeepsItsReason() {
        var machine = DeviceStatusMachine(status: .provisioned, failures: 1)
        var result = self.good()
        result.errorCode = .countersMissing
        result.error = "no network counters"
        machine.apply(result, unreachableAfter: 3)
        #expect(machine.status == .monitoring && machine.failures == 0)
        #expect(machine.lastError?.code == .countersMissing)
    }

    @Test func aDeprovisionedDeviceIsLeftAlone() {
        var machine = DeviceStatusMachine(status: .discovered, failures: 0)
        machine.apply(self.good(), unreachableAfter: 3)
        machine.apply(self.bad(.timeout), unreachableAfter: 1)
        #expect(machine == DeviceStatusMachine(status: .discovered, failures: 0))
    }
}
