import Foundation
import NIOPosix
import NMSCore
import Synchronization
import Testing
import WindowsSimulator

@testable import NMSCollectors

/// A lockout guard for one pair: two failures suspend it.
final class CountingGate: AuthenticationGate, Sendable {
    private let state = Mutex((attempts: 0, failures: 0))

    var attempts: Int { self.state.withLock { $0.attempts } }
    var failures: Int { self.state.withLock { $0.failures } }

    func authenticate<Result: Sendable>(
        deviceID: Int,
        credentialID: Int,
        attempt: @Sendable () async throws -> Result
    ) async throws -> Result {
        guard self.failures < LockoutLimits.failuresPerPair else {
            throw PollFailure(.credentialSuspended, "credential \(credentialID) is suspended")
        }
        self.state.withLock { $0.attempts += 1 }
        do { return try await attempt() } catch let failure as PollFailure where failure.code == .authFailed {
            self.state.withLock { $0.failures += 1 }
            throw failure
        }
    }
}

/// The diagnosis against simulated hosts over real sockets: which stage fails with what, and what is left behind.
@Suite(.serialized, .timeLimit(.minutes(3))) struct DiagnosisTests {
    private static let password = "d1agnosis-Test"
    private static let address = "127.91.0.1"

    private struct Setting {
        let simulator: WindowsSimulator
        let collectors: CollectorRegistry
        let caFile: String
        let gate = CountingGate()

        var host: SimulatedHost { self.simulator.hosts[0] }

        func request(
            _ type: CredentialType,
            useSSL: Bool = false,
            hostname: String? = nil,
            change: (inout Credential) -> Void = { _ in },
            password: String = DiagnosisTests.password
        ) -> DiagnosisRequest {
            let port =
                type == .wmi
                ? self.simulator.resolverPort ?? 10_135
                : useSSL ? self.simulator.httpsPort : self.simulator.httpPort ?? 15_985
            var credential = Credential(
                id: 1,
                name: "c",
                type: type,
                username: "monitor",
                port: port,
                useSSL: useSSL,
                createdAt: Date(timeIntervalSince1970: 0),
                updatedAt: Date(timeIntervalSince1970: 0)
            )
            change(&credential)
            return DiagnosisRequest(
                deviceID: 1,
                address: IPAddress(self.host.address.description)!,
                hostname: hostname,
                credential: DecryptedCredential(credential: credential, password: Secret(password))
            )
        }

        func diagnose(_ request: DiagnosisRequest, limits: DiagnosisLimits = DiagnosisLimits()) async throws
            -> DiagnosisReport
        {
            let diagnosis = WindowsDiagnosis(collectors: self.collectors, gate: self.gate, limits: limits)
            return try await diagnosis.diagnose(request)
        }
    }

    private func with(
        faults: String = "",
        trusted: Bool = true,
        change: (inout SimulatorConfiguration) -> Void = { _ in },
        _ body: (Setting) async throws -> Void
    ) async throws {
        let base = try #require(IPv4(Self.address))
        var configuration = SimulatorConfiguration(
            addresses: try #require(AddressRange(base: base, count: 1)),
            password: Self.password,
            fleet: HostProfile.Fleet(seed: 3, isStatic: true)
        )
        configuration.user = "monitor"
        configuration.httpPort = 0
        configuration.httpsPort = 0
        configuration.resolverPort = 0
        configuration.truthPort = nil
        configuration.faults = faults.isEmpty ? nil : "[{hosts: \(Self.address), fault: \(faults)}]"
        // No port can be chosen for a host that does not listen.
        if faults == "refused" { (configuration.httpPort, configuration.resolverPort) = (15_985, 10_135) }
        if faults == "refused" { configuration.httpsPort = nil }
        configuration.objectTimes.handover = 0.2
        change(&configuration)
        let simulator = try WindowsSimulator(configuration)
        try await simulator.start()
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("nms-ca-\(UUID().uuidString).pem")
        try Data((simulator.caPEM ?? "").utf8).write(to: file)
        let group = MultiThreadedEventLoopGroup.singleton
        let limits = WindowsCollectorLimits()
        let setting = Setting(
            simulator: simulator,
            collectors: CollectorRegistry([
                WinRMCollector(caFile: trusted ? file.path : nil, limits: limits, eventLoopGroup: group),
                WMICollector(limits: limits, eventLoopGroup: group),
            ]),
            caFile: file.path
        )
        let result: Result<Void, any Error>
        do { result = .success(try await body(setting)) } catch { result = .failure(error) }
        for collector in setting.collectors.all { await collector.shutDown() }
        await simulator.stop()
        try FileManager.default.removeItem(at: file)
        try result.get()
    }

    /// Nothing is left at the host, neither references nor connections.
    private func expectUntouched(_ setting: Setting, after what: String) async {
        for _ in 0..<200 where setting.host.activity.openConnections > 0 {
            try? await Task.sleep(for: .milliseconds(10))
        }
        let activity = setting.host.activity
        #expect(activity.openConnections == 0, "\(what)")
        #expect(
            activity.heldReferences == 0 && activity.leakedReferences == 0 && activity.excessReleases == 0,
            "\(what)"
        )
    }

    private static func shown(_ report: DiagnosisReport) -> String {
        report.stages.map { stage in
            "\(stage.kind) \(stage.target ?? "-") \(stage.result) \(stage.durationMs) ms "
                + "\(stage.facts.map { "\($0.name)=\($0.value)" }) \(stage.cause.map { "\($0.code): \($0.message)" } ?? "")"
        }.joined(separator: "\n")
    }

    // MARK: - Healthy hosts

    @Test(arguments: [(CredentialType.winrmNTLM, false), (.winrmNTLM, true), (.winrmBasic, true), (.wmi, false)])
    func aHealthyHostPassesEveryStage(type: CredentialType, useSSL: Bool) async throws {
        try await self.with(change: { $0.service.offersBasic = true }) { setting in
            let report = try await setting.diagnose(setting.request(type, useSSL: useSSL))
            #expect(report.isOK, "\(Self.shown(report))")
            #expect(report.stages.allSatisfy { $0.result == .passed && $0.cause == nil && $0.remedy == nil })
            var kinds: [DiagnosisStage.Kind] = [.tcp, .identify, .authenticate, .namespace]
            if useSSL { kinds.insert(.tls, at: 1) }
            if type == .wmi { kinds.insert(.exporter, at: 3) }
            #expect(report.stages.map(\.kind) == kinds + Array(repeating: .class, count: 5))
            #expect(
                report.stages.filter { $0.kind == .class }.map(\.target) == [
                    "Win32_OperatingSystem", "Win32_LogicalDisk", "Win32_PerfRawData_PerfOS_Processor",
                    "Win32_PerfRawData_Tcpip_NetworkInterface", "Win32_ComputerSystem",
                ]
            )
            let facts = report.stages.flatMap(\.facts)
            let names = Set(facts.map(\.name))
            #expect(names.isSuperset(of: ["rows", "os", "os_build", "hostname"]), "\(names)")
            if type != .winrmBasic {
                #expect(names.isSuperset(of: ["computer", "windows_version", "clock_offset_seconds"]), "\(names)")
            }
            if useSSL { #expect(names.contains("certificate_sha256") && names.contains("certificate_issuer")) }
            if type != .wmi { #expect(facts.contains(DiagnosisFact("product_vendor", "Microsoft Corporation"))) }
            for stage in report.stages { #expect(Set(stage.facts.map(\.name)).count == stage.facts.count) }
            #expect(report.durationMs < 5_000)
            #expect(setting.gate.attempts == 1 && setting.gate.failures == 0)
            await self.expectUntouched(setting, after: "\(type)")
        }
    }

    // MARK: - Faults

    struct Expected: Sendable, CustomTestStringConvertible {
        var type: CredentialType
        var fault: String
        var stage: DiagnosisStage.Kind?
        var code: PollErrorCode?
        var useSSL = false
        var remedy = ""

        var testDescription: String { "\(self.type) \(self.fault)" }
    }

    private static let winrm: [Expected] = [
        Expected(
            type: .winrmNTLM,
            fault: "refused",
            stage: .tcp,
            code: .connectionRefused,
            remedy: "winrm quickconfig"
        ),
        Expected(type: .winrmNTLM, fault: "stalled_connection", stage: .identify, code: .timeout),
        Expected(type: .winrmNTLM, fault: "garbage", stage: .identify, code: .protocolError),
        Expected(type: .winrmNTLM, fault: "drop_mid_answer", stage: .namespace, code: .connectionReset),
        Expected(
            type: .winrmNTLM,
            fault: "tls_expired_certificate",
            stage: .tls,
            code: .tlsFailed,
            useSSL: true,
            remedy: "Renew the certificate"
        ),
        Expected(
            type: .winrmNTLM,
            fault: "tls_wrong_name",
            stage: .tls,
            code: .tlsFailed,
            useSSL: true,
            remedy: "the device is known as \(Self.address)"
        ),
        Expected(
            type: .winrmNTLM,
            fault: "tls_untrusted",
            stage: .tls,
            code: .tlsFailed,
            useSSL: true,
            remedy: "winrm.ca_file"
        ),
        Expected(type: .winrmNTLM, fault: "wrong_password", stage: .authenticate, code: .authFailed),
        Expected(
            type: .winrmNTLM,
            fault: "basic_only",
            stage: .authenticate,
            code: .protocolError,
            remedy: "@{Negotiate=\"true\"}"
        ),
        Expected(
            type: .winrmBasic,
            fault: "plain_refused",
            stage: .authenticate,
            code: .encryptionRequired,
            remedy: "AllowUnencrypted"
        ),
        Expected(type: .winrmNTLM, fault: "access_denied", stage: .namespace, code: .accessDenied),
        Expected(type: .winrmNTLM, fault: "quota", stage: .class, code: .quotaExceeded),
        Expected(type: .winrmNTLM, fault: "provider_failure", stage: .class, code: .wmiError),
        Expected(type: .winrmNTLM, fault: "missing_class", stage: .class, code: .countersMissing, remedy: "lodctr /R"),
        Expected(type: .winrmNTLM, fault: "oversized_answer", stage: .namespace, code: .responseTooLarge),
        Expected(type: .winrmNTLM, fault: "slow_query", stage: .class, code: .timeout),
        Expected(type: .winrmNTLM, fault: "unauthorized_after, requests: 4"),
        Expected(type: .winrmNTLM, fault: "counters_32bit"),
        Expected(type: .winrmNTLM, fault: "counter_reset"),
    ]

    private static let dcom: [Expected] = [
        Expected(type: .wmi, fault: "refused", stage: .tcp, code: .connectionRefused),
        Expected(type: .wmi, fault: "stalled_connection", stage: .identify, code: .timeout),
        Expected(type: .wmi, fault: "garbage", stage: .identify, code: .protocolError),
        Expected(type: .wmi, fault: "drop_mid_answer", stage: .authenticate, code: .connectionReset),
        Expected(type: .wmi, fault: "wrong_password", stage: .authenticate, code: .authFailed),
        Expected(
            type: .wmi,
            fault: "activation_denied",
            stage: .authenticate,
            code: .accessDenied,
            remedy: "Distributed COM Users"
        ),
        Expected(
            type: .wmi,
            fault: "dynamic_port_closed",
            stage: .exporter,
            code: .connectionRefused,
            remedy: "49152-65535"
        ),
        Expected(
            type: .wmi,
            fault: "dynamic_port_closed, silently: true",
            stage: .exporter,
            code: .timeout,
            remedy: "49152-65535"
        ),
        Expected(
            type: .wmi,
            fault: "namespace_denied",
            stage: .namespace,
            code: .accessDenied,
            remedy: "Remote Enable"
        ),
        Expected(type: .wmi, fault: "access_denied", stage: .class, code: .accessDenied),
        Expected(type: .wmi, fault: "quota", stage: .class, code: .quotaExceeded),
        Expected(type: .wmi, fault: "provider_failure", stage: .class, code: .wmiError),
        Expected(type: .wmi, fault: "missing_class", stage: .class, code: .countersMissing, remedy: "lodctr /R"),
        Expected(type: .wmi, fault: "oversized_answer", stage: .class, code: .responseTooLarge),
        Expected(type: .wmi, fault: "slow_query", stage: .class, code: .timeout),
        Expected(type: .wmi, fault: "enumeration_error", stage: .class, code: .wmiError),
        Expected(type: .wmi, fault: "bad_signature", stage: .class, code: .protocolError),
        Expected(type: .wmi, fault: "unauthorized_after, requests: 9"),
        Expected(type: .wmi, fault: "dcom_privacy_required"),
        Expected(type: .wmi, fault: "hostname_bindings"),
        Expected(type: .wmi, fault: "foreign_bindings"),
        Expected(type: .wmi, fault: "small_fragments"),
        Expected(type: .wmi, fault: "split_answers"),
        Expected(type: .wmi, fault: "single_interface"),
        Expected(type: .wmi, fault: "smart_enumerator_refused"),
        Expected(type: .wmi, fault: "single_rows"),
        Expected(type: .wmi, fault: "timed_out_first"),
        Expected(type: .wmi, fault: "objects_reclaimed, age: 60s"),
        Expected(type: .wmi, fault: "pings_denied"),
    ]

    /// Here the way by which references would be given back is cut, by a firewall or by an answer that cannot be trusted
    /// any more: they are the host's to reclaim, as after a poll.
    private static let unreleasable: Set<String> = [
        "dynamic_port_closed", "dynamic_port_closed, silently: true", "oversized_answer", "bad_signature",
    ]

    @Test(arguments: Self.winrm + Self.dcom)
    func aFaultShowsAtItsStage(expected: Expected) async throws {
        try await self.with(
            faults: expected.fault,
            change: { configuration in
                configuration.service.offersBasic = expected.type == .winrmBasic
                configuration.service.allowsUnencrypted = expected.type == .winrmBasic
            }
        ) { setting in
            let request = setting.request(expected.type, useSSL: expected.useSSL) { credential in
                credential.allowUnencryptedBasic = true
            }
            let began = ContinuousClock.now
            // One of the slow ones takes all the time that there is, the other less.
            let limits = expected.type == .wmi ? Self.short : DiagnosisLimits()
            let report = try await setting.diagnose(request, limits: limits)
            #expect(.now - began < .seconds(10))
            let shown = Self.shown(report)
            let failed = report.stages.first { $0.result == .failed }
            #expect(failed?.kind == expected.stage, "\(shown)")
            #expect(failed?.cause?.code == expected.code, "\(shown)")
            #expect(report.isOK == (expected.stage == nil), "\(shown)")
            if let failed {
                #expect(failed.remedy?.contains(expected.remedy) == true || expected.remedy.isEmpty, "\(shown)")
                let index = try #require(report.stages.firstIndex(of: failed))
                #expect(report.stages[..<index].allSatisfy { $0.result == .passed }, "\(shown)")
                if failed.kind != .class {
                    #expect(report.stages[(index + 1)...].allSatisfy { $0.result == .skipped }, "\(shown)")
                }
            }
            #expect(!shown.contains(Self.password))
            #expect(setting.host.activity.failedLogins <= 1)
            if !Self.unreleasable.contains(expected.fault) { await self.expectUntouched(setting, after: shown) }
        }
    }

    /// A class that is missing or slow says nothing about the others.
    @Test(arguments: [CredentialType.winrmNTLM, .wmi], ["missing_class", "slow_query"])
    func theOtherClassesAreAskedForAllTheSame(type: CredentialType, fault: String) async throws {
        let fault = "\(fault), class: Win32_PerfRawData_PerfOS_Processor"
        try await self.with(faults: fault) { setting in
            let report = try await setting.diagnose(setting.request(type), limits: Self.short)
            let results = report.stages.filter { $0.kind == .class }.map(\.result)
            #expect(results == [.passed, .passed, .failed, .passed, .passed], "\(Self.shown(report))")
            #expect(report.durationMs < 6_000)
        }
    }

    private static var short: DiagnosisLimits {
        var limits = DiagnosisLimits()
        limits.total = .seconds(6)
        return limits
    }

    /// Without a host's name polls are complete.
    @Test func aMissingNameIsAWarning() async throws {
        try await self.with(faults: "missing_class, class: Win32_ComputerSystem") { setting in
            for type in [CredentialType.winrmNTLM, .wmi] {
                let report = try await setting.diagnose(setting.request(type))
                #expect(report.isOK && report.stages.last?.result == .warning, "\(Self.shown(report))")
                #expect(report.stages.last?.cause?.code == .countersMissing)
                #expect(report.stages.last?.remedy?.contains("Win32_ComputerSystem") == true)
            }
        }
    }

    @Test func aWrongClockIsAWarning() async throws {
        try await self.with(faults: "wrong_clock, offset: 1h") { setting in
            let stages: [(CredentialType, DiagnosisStage.Kind)] = [(.winrmNTLM, .authenticate), (.wmi, .identify)]
            for (type, kind) in stages {
                let report = try await setting.diagnose(setting.request(type))
                #expect(report.isOK, "\(Self.shown(report))")
                let warnings = report.stages.filter { $0.result == .warning }
                #expect(warnings.map(\.kind) == [kind], "\(Self.shown(report))")
                #expect(warnings.first?.remedy?.contains("w32tm") == true)
            }
        }
    }

    // MARK: - TLS

    @Test func aRefusedCertificateIsShown() async throws {
        try await self.with(faults: "tls_wrong_name") { setting in
            let report = try await setting.diagnose(
                setting.request(.winrmNTLM, useSSL: true, hostname: "srv01.example")
            )
            let tls = try #require(report.stages.first { $0.kind == .tls })
            let facts = Dictionary(uniqueKeysWithValues: tls.facts.map { ($0.name, $0.value) })
            #expect(facts["certificate_names"]?.isEmpty == false)
            #expect(facts["certificate_sha256"]?.count == 64)
            #expect(facts["certificate_self_signed"] == "false")
            #expect(facts["certificate_not_after"]?.hasSuffix("Z") == true)
            let names = try #require(facts["certificate_names"])
            #expect(
                tls.remedy?.contains("for \(names), the device is known as srv01.example and \(Self.address)") == true
            )
            // The same certificate is no obstacle where names are not compared.
            let chain = setting.request(.winrmNTLM, useSSL: true) { $0.tlsVerify = .chain }
            #expect(try await setting.diagnose(chain).isOK)
        }
    }

    @Test func anUnknownAuthorityIsNamed() async throws {
        try await self.with(trusted: false) { setting in
            let report = try await setting.diagnose(setting.request(.winrmNTLM, useSSL: true))
            let tls = try #require(report.stages.first { $0.kind == .tls })
            #expect(tls.result == .failed && tls.cause?.code == .tlsFailed)
            let issuer = try #require(tls.facts.first { $0.name == "certificate_issuer" }?.value)
            #expect(tls.remedy?.contains(issuer) == true)
            let unverified = setting.request(.winrmNTLM, useSSL: true) { $0.tlsVerify = .none }
            #expect(try await setting.diagnose(unverified).isOK)
            await self.expectUntouched(setting, after: "TLS")
        }
    }

    @Test func aPortWithoutTLSIsFound() async throws {
        try await self.with { setting in
            let request = setting.request(.winrmNTLM, useSSL: true) { $0.port = setting.simulator.httpPort }
            let report = try await setting.diagnose(request)
            let failed = try #require(report.stages.first { $0.result == .failed })
            #expect(failed.kind == .tls && failed.cause?.code == .tlsFailed, "\(Self.shown(report))")
            #expect(failed.remedy?.contains("use_ssl") == true)
        }
    }

    // MARK: - Logins

    @Test(arguments: [(CredentialType.winrmNTLM, false), (.winrmBasic, true), (.wmi, false)])
    func aWrongPasswordCostsOneFailedLoginAndThenNone(type: CredentialType, useSSL: Bool) async throws {
        try await self.with(change: { $0.service.offersBasic = true }) { setting in
            let request = setting.request(type, useSSL: useSSL, password: "not-it")
            for test in 1...2 {
                let report = try await setting.diagnose(request)
                let failed = report.stages.first { $0.result == .failed }
                #expect(failed?.kind == .authenticate && failed?.cause?.code == .authFailed, "\(Self.shown(report))")
                #expect(setting.host.activity.failedLogins == test && setting.gate.failures == test)
            }
            // The guard keeps the third from the host.
            let report = try await setting.diagnose(request)
            let failed = report.stages.first { $0.result == .failed }
            #expect(failed?.kind == .authenticate && failed?.cause?.code == .credentialSuspended)
            #expect(failed?.remedy?.contains("/resume") == true)
            #expect(report.stages.filter { $0.kind == .class }.allSatisfy { $0.result == .skipped })
            #expect(setting.host.activity.failedLogins == 2 && setting.gate.attempts == 2)
            await self.expectUntouched(setting, after: "\(type)")
        }
    }

    @Test func aPasswordIsNotSentInTheClear() async throws {
        try await self.with { setting in
            let report = try await setting.diagnose(setting.request(.winrmBasic))
            let failed = try #require(report.stages.first { $0.result == .failed })
            #expect(failed.kind == .authenticate && failed.cause?.code == .encryptionRequired)
            #expect(failed.remedy?.contains("has not sent the password") == true)
            #expect(setting.host.activity.failedLogins == 0)
        }
    }

    // MARK: - Beside polls

    /// The kept connection of a poll is neither used nor closed.
    @Test(arguments: [CredentialType.winrmNTLM, .wmi])
    func aPollKeepsItsConnection(type: CredentialType) async throws {
        try await self.with { setting in
            let request = setting.request(type)
            let collector = try #require(try setting.collectors.collector(for: type) as? any WindowsCollector)
            let target = CollectorTarget(
                deviceID: request.deviceID,
                address: request.address,
                hostname: nil,
                credential: request.credential,
                deadline: .now + .seconds(20),
                gate: setting.gate
            )
            _ = try await collector.sample(target, groups: Set(CounterGroup.allCases))
            #expect(collector.idleConnections == 1)
            async let report = setting.diagnose(request)
            _ = try await collector.sample(target, groups: Set(CounterGroup.allCases))
            #expect(try await report.isOK)
            _ = try await collector.sample(target, groups: Set(CounterGroup.allCases))
            #expect(collector.idleConnections == 1)
            // One sign-in of the polls, one of the diagnosis.
            #expect(setting.gate.attempts == 2)
        }
    }

    @Test(arguments: [CredentialType.winrmNTLM, .wmi])
    func aCancelledDiagnosisLeavesNothing(type: CredentialType) async throws {
        try await self.with(faults: "slow_query, class: all") { setting in
            let request = setting.request(type)
            let task = Task { try await setting.diagnose(request) }
            while setting.host.activity.authentications == 0 { try await Task.sleep(for: .milliseconds(5)) }
            try await Task.sleep(for: .milliseconds(100))
            let began = ContinuousClock.now
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
            #expect(.now - began < .seconds(5))
            // A reference that an unanswered call would have brought is counted as left behind for a moment.
            for _ in 0..<200 where setting.host.activity.openConnections > 0 {
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(setting.host.activity.openConnections == 0)
        }
    }
}
