import ArgumentParser
import Dispatch
import Foundation
import WindowsSimulator

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A simulated fleet of Windows hosts for testing collectors.
@main
struct Winsim: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "winsim",
        abstract: "Simulates a fleet of Windows hosts that answer WinRM and DCOM on loopback addresses.",
        discussion: """
            Hosts take consecutive addresses from --base-address. They are set up like Windows by default: NTLM with \
            sealed messages over HTTP, NTLM over HTTPS, no Basic. GET /hosts/ADDRESS on the truth port tells what \
            is true of a host. The password can also come from the environment, as WINSIM_PASSWORD.
            """
    )

    /// Known, because the hosts are not real; printed at the start when nothing else was given.
    private static let defaultPassword = "Winsim-Passw0rd"
    private static let passwordVariable = "WINSIM_PASSWORD"

    @Option(help: "How many hosts.")
    var hosts = 10

    @Option(help: "The first host's address.")
    var baseAddress = "127.1.0.1"

    @Option(help: "From one host's address to the next; more than 1 leaves addresses without a host in between.")
    var addressStep = 1

    @Option(help: "The user that may log in.")
    var user = "Administrator"

    @Option(help: "The user's password; better in WINSIM_PASSWORD, where other users cannot see it.")
    var password: String?

    @Option(help: "The domain, as NetBIOS name (WINSIM) or DNS name (winsim.test).")
    var domain = "winsim.test"

    @Option(help: "Port of WinRM over HTTP; 0 for none.")
    var winrmPort = 5_985

    @Option(help: "Port of WinRM over HTTPS; 0 for none.")
    var winrmsPort = 5_986

    @Option(help: "Port of the DCOM resolver, for WMI; 135 needs root; 0 for no DCOM.")
    var epmPort = 135

    @Option(help: "Port of SMB, which hosts with the fault samba_only have and no others; 445 needs root; 0 for none.")
    var smbPort = 445

    @Option(help: "Port of the truth endpoint on 127.0.0.1; 0 for none.")
    var truthPort = 9_099

    @Flag(name: .customLong("static"), help: "Freeze rates and gauges; counters go on at an even rate.")
    var isStatic = false

    @Option(help: "YAML file with faults.")
    var faults: String?

    @Option(help: "Another seed gives other hosts.")
    var seed: UInt64 = 1

    @Option(help: "Where to write the certificate of the authority that signs the hosts' certificates (PEM).")
    var caOut: String?

    @Flag(help: "Offer Basic over HTTPS, and over HTTP with --allow-unencrypted.")
    var basic = false

    @Flag(help: "Take requests over HTTP that are not sealed.")
    var allowUnencrypted = false

    @Flag(help: "Refuse NTLM over HTTPS that is not bound to the certificate.")
    var strictChannelBinding = false

    @Flag(help: "Do not offer Negotiate; useful with --basic.")
    var noNegotiate = false

    @Option(help: "Seconds after which an idle connection is closed.")
    var keepAlive = 120.0

    @Option(help: "Event loop threads.")
    var threads = 2

    func run() async throws {
        raiseFileLimit()
        let simulator: WindowsSimulator
        do {
            simulator = try WindowsSimulator(try self.simulatorConfiguration())
            if let path = self.caOut, let pem = simulator.caPEM { try Self.write(pem, to: path) }
            try await simulator.start()
        } catch let error as SimulatorError {
            throw Self.failure("\(error)")
        } catch let error as FaultFile.Failure {
            throw Self.failure("\(self.faults ?? ""): \(error)")
        }
        self.announce(simulator)
        await Self.termination()
        await simulator.stop()
    }

    private func simulatorConfiguration() throws -> SimulatorConfiguration {
        guard let base = IPv4(self.baseAddress) else {
            throw ValidationError("--base-address: \(self.baseAddress) is no IPv4 address")
        }
        guard self.hosts > 0 else { throw ValidationError("--hosts: \(self.hosts) must be 1 or more") }
        guard self.addressStep > 0 else { throw ValidationError("--address-step must be 1 or more") }
        guard let addresses = AddressRange(base: base, count: self.hosts, step: self.addressStep) else {
            throw ValidationError("--hosts: \(self.hosts) hosts do not fit from \(base) on")
        }
        let environment = ProcessInfo.processInfo.environment[Self.passwordVariable]
        if let password = self.password, let environment, password != environment {
            throw ValidationError("--password and \(Self.passwordVariable) disagree")
        }
        var fleet = HostProfile.Fleet(seed: self.seed, isStatic: self.isStatic)
        let label = self.domain.prefix { $0 != "." }
        guard !label.isEmpty, label.count <= 15 else {
            throw ValidationError("--domain: \(self.domain) must begin with 1 to 15 characters before a dot")
        }
        fleet.domain = label.uppercased()
        fleet.dnsDomain = self.domain.contains(".") ? self.domain.lowercased() : "\(self.domain.lowercased()).test"
        var configuration = SimulatorConfiguration(
            addresses: addresses,
            password: self.password ?? environment ?? Self.defaultPassword,
            fleet: fleet
        )
        configuration.user = self.user
        configuration.httpPort = try Self.port(self.winrmPort, "--winrm-port")
        configuration.httpsPort = try Self.port(self.winrmsPort, "--winrms-port")
        configuration.resolverPort = try Self.port(self.epmPort, "--epm-port")
        configuration.smbPort = try Self.port(self.smbPort, "--smb-port")
        configuration.truthPort = try Self.port(self.truthPort, "--truth-port")
        configuration.service.offersBasic = self.basic
        configuration.service.offersNegotiate = !self.noNegotiate
        configuration.service.allowsUnencrypted = self.allowUnencrypted
        configuration.service.requiresChannelBinding = self.strictChannelBinding
        guard self.keepAlive > 0, self.keepAlive.isFinite else {
            throw ValidationError("--keep-alive must be more than 0")
        }
        configuration.service.keepAliveTimeout = self.keepAlive
        guard (1...64).contains(self.threads) else { throw ValidationError("--threads must be 1 to 64") }
        configuration.threads = self.threads
        if let path = self.faults {
            do {
                configuration.faults = try String(contentsOfFile: path, encoding: .utf8)
            } catch {
                throw Self.failure("cannot read \(path): \((error as NSError).localizedDescription)")
            }
        }
        return configuration
    }

    private static func port(_ number: Int, _ option: String) throws -> Int? {
        guard (0...65_535).contains(number) else { throw ValidationError("\(option): \(number) is no port") }
        return number == 0 ? nil : number
    }

    private static func write(_ pem: String, to path: String) throws {
        do {
            try Data(pem.utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
        } catch {
            throw Self.failure("cannot write \(path): \((error as NSError).localizedDescription)")
        }
    }

    private static func failure(_ text: String) -> any Error {
        CleanExitFailure(description: text)
    }

    /// One line when every host answers.
    private func announce(_ simulator: WindowsSimulator) {
        let configuration = simulator.configuration
        var parts = ["\(simulator.hosts.count) hosts on \(configuration.addresses)"]
        if let port = configuration.httpPort { parts.append("http \(port)") }
        if let port = configuration.httpsPort { parts.append("https \(port)") }
        if let port = configuration.resolverPort { parts.append("dcom \(port)") }
        if let port = simulator.truthPort { parts.append("truth http://127.0.0.1:\(port)/hosts") }
        let isDefault = self.password == nil && ProcessInfo.processInfo.environment[Self.passwordVariable] == nil
        parts.append("user \(configuration.fleet.domain)\\\(self.user)")
        parts.append(isDefault ? "password \(Self.defaultPassword)" : "password as given")
        print("winsim ready: " + parts.joined(separator: ", "))
        fflush(nil)
    }

    /// Returns at SIGTERM or SIGINT.
    private static func termination() async {
        let (signals, continuation) = AsyncStream.makeStream(of: Void.self)
        let sources = [SIGTERM, SIGINT].map { number in
            // The default action would end the process before the source sees the signal.
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number)
            source.setEventHandler { continuation.yield() }
            source.resume()
            return source
        }
        defer { sources.forEach { $0.cancel() } }
        for await _ in signals { break }
    }
}

/// An error that is told in one line.
private struct CleanExitFailure: Error, CustomStringConvertible {
    let description: String
}

/// A fleet needs four listeners for each host, and connections.
private func raiseFileLimit() {
    var limit = rlimit()
    #if canImport(Glibc)
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    #else
    let resource = RLIMIT_NOFILE
    #endif
    guard getrlimit(resource, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(resource, &limit)
}
