import Foundation
import NMSCore

@testable import NMSCollectors

/// How a collector looks, in one file: it reads the Linux machine that it runs on, from proc(5), as if that were a device.
///
/// CONTRIBUTING.md goes through it. It keeps nothing between polls; one that keeps connections closes them in `forget` and
/// `shutDown`.
struct ExampleCollector: Collector {
    let name = "proc"

    /// Jiffies of user space are hundredths of a second, whatever the kernel counts in (time(7)).
    private static let hundredNanosecondsPerJiffy: UInt64 = 100_000

    func supports(_ type: CredentialType) -> Bool { type == .winrmBasic }

    func sample(_ target: CollectorTarget, groups: Set<CounterGroup>) async throws -> RawSample {
        guard target.deadline > .now else { throw PollFailure(.timeout, "the time of the poll is over") }
        // Here a real one connects and signs in: through the gate, so that no account is ever locked out.
        try await target.gate.authenticate(
            deviceID: target.deviceID,
            credentialID: target.credential.credential.id
        ) { try Task.checkCancellation() }
        var sample = RawSample()
        sample.identity.hostname = Self.lines("/proc/sys/kernel/hostname").first
        sample.identity.os = "Linux"
        // Each group fails alone: the others are stored all the same.
        if groups.contains(.system) { sample.system = Self.reading { try self.system() } }
        if groups.contains(.disk) { sample.disk = Self.reading { try self.disk() } }
        if groups.contains(.processor) { sample.processor = Self.reading { try self.processor() } }
        if groups.contains(.network) { sample.network = Self.reading { try self.network() } }
        return sample
    }

    func forget(deviceID: Int) async {}
    func forget(credentialID: Int) async {}
    func shutDown() async {}

    // MARK: Raw counters, before any arithmetic

    private func system() throws -> SystemReading {
        var kibibytes: [String: Int64] = [:]
        for line in Self.lines("/proc/meminfo") {
            let parts = line.split(separator: " ")
            if parts.count >= 2 { kibibytes[String(parts[0])] = Int64(parts[1]) }
        }
        let boot = Self.lines("/proc/stat").first { $0.hasPrefix("btime ") }.flatMap { Double($0.dropFirst(6)) }
        return SystemReading(
            memoryTotalBytes: try Self.known(kibibytes["MemTotal:"]) * 1024,
            memoryFreeBytes: try Self.known(kibibytes["MemAvailable:"]) * 1024,
            processCount: try FileManager.default.contentsOfDirectory(atPath: "/proc").count { Int($0) != nil },
            bootTime: boot.map(Date.init(timeIntervalSince1970:))
        )
    }

    private func disk() throws -> DiskReading {
        let facts = try FileManager.default.attributesOfFileSystem(forPath: "/")
        return DiskReading(
            totalBytes: try Self.known((facts[.systemSize] as? NSNumber)?.int64Value),
            freeBytes: try Self.known((facts[.systemFreeSize] as? NSNumber)?.int64Value)
        )
    }

    private func processor() throws -> ProcessorReading {
        let lines = Self.lines("/proc/stat").filter { $0.hasPrefix("cpu") }
        let jiffies = try Self.known(lines.first).split(separator: " ").dropFirst().compactMap { UInt64($0) }
        guard jiffies.count > 4, lines.count > 1 else { throw Self.missing }
        let processors = UInt64(lines.count - 1)
        // Of one processor on average, as Windows' instance _Total has it; the sum of all is a clock.
        return ProcessorReading(
            idle100ns: (jiffies[3] + jiffies[4]) * Self.hundredNanosecondsPerJiffy / processors,
            timestamp100ns: jiffies.reduce(0, +) * Self.hundredNanosecondsPerJiffy / processors
        )
    }

    private func network() throws -> NetworkReading {
        let frequency: UInt64 = 1_000_000_000
        let now = UInt64(ProcessInfo.processInfo.systemUptime * Double(frequency))
        let interfaces = Self.lines("/proc/net/dev").dropFirst(2).compactMap { line -> NetworkReading.Interface? in
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { return nil }
            let name = parts[0].trimmingCharacters(in: .whitespaces)
            let numbers = parts[1].split(separator: " ").compactMap { UInt64($0) }
            guard numbers.count >= 12, name != "lo" else { return nil }
            return NetworkReading.Interface(
                name: name,
                bytesReceived: numbers[0],
                bytesSent: numbers[8],
                packetsReceived: numbers[1],
                packetsSent: numbers[9],
                errors: numbers[2] + numbers[10],
                dropped: numbers[3] + numbers[11],
                timestamp: now,
                frequency: frequency
            )
        }
        return NetworkReading(interfaces: interfaces)
    }

    private static let missing = PollFailure(.countersMissing, "the kernel does not tell")

    private static func known<Value>(_ value: Value?) throws -> Value {
        guard let value else { throw self.missing }
        return value
    }

    private static func reading<Value>(_ body: () throws -> Value) -> Result<Value, PollFailure> {
        do { return .success(try body()) } catch { return .failure(error as? PollFailure ?? self.missing) }
    }

    private static func lines(_ file: String) -> [String] {
        // Files of /proc have no size beforehand.
        guard let data = FileManager.default.contents(atPath: file) else { return [] }
        return String(decoding: data, as: UTF8.self).split(separator: "\n").map(String.init)
    }
}
