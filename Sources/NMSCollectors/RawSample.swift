package import Foundation
package import NMSCore

/// Parts of a poll that succeed or fail on their own.
package enum CounterGroup: String, Sendable, CaseIterable {
    /// Memory, process count and identity.
    case system
    case disk
    case processor
    case network
}

/// What a host said at one moment, before any arithmetic; a group that was not asked for is nil.
package struct RawSample: Sendable {
    package var identity = HostIdentity()
    package var system: Result<SystemReading, PollFailure>?
    package var disk: Result<DiskReading, PollFailure>?
    package var processor: Result<ProcessorReading, PollFailure>?
    package var network: Result<NetworkReading, PollFailure>?

    package init() {}

    /// The groups that failed, in the order in which they are asked.
    package var failures: [(group: CounterGroup, failure: PollFailure)] {
        var failures: [(CounterGroup, PollFailure)] = []
        if case .failure(let failure) = self.system { failures.append((.system, failure)) }
        if case .failure(let failure) = self.disk { failures.append((.disk, failure)) }
        if case .failure(let failure) = self.processor { failures.append((.processor, failure)) }
        if case .failure(let failure) = self.network { failures.append((.network, failure)) }
        return failures
    }
}

/// `Win32_OperatingSystem`.
package struct SystemReading: Sendable, Equatable {
    package var memoryTotalBytes: Int64?
    package var memoryFreeBytes: Int64?
    package var processCount: Int?
    /// By the host's own clock.
    package var bootTime: Date?

    package init(
        memoryTotalBytes: Int64? = nil,
        memoryFreeBytes: Int64? = nil,
        processCount: Int? = nil,
        bootTime: Date? = nil
    ) {
        self.memoryTotalBytes = memoryTotalBytes
        self.memoryFreeBytes = memoryFreeBytes
        self.processCount = processCount
        self.bootTime = bootTime
    }
}

/// `Win32_LogicalDisk` of fixed disks, summed.
package struct DiskReading: Sendable, Equatable {
    package var totalBytes: Int64
    package var freeBytes: Int64

    package init(totalBytes: Int64, freeBytes: Int64) {
        self.totalBytes = totalBytes
        self.freeBytes = freeBytes
    }
}

/// `Win32_PerfRawData_PerfOS_Processor`, instance `_Total`.
package struct ProcessorReading: Sendable, Equatable {
    /// Idle time in units of 100 ns (the raw value of an inverse timer, PERF_100NSEC_TIMER_INV).
    package var idle100ns: UInt64
    /// The host's clock in units of 100 ns.
    package var timestamp100ns: UInt64

    package init(idle100ns: UInt64, timestamp100ns: UInt64) {
        self.idle100ns = idle100ns
        self.timestamp100ns = timestamp100ns
    }
}

/// `Win32_PerfRawData_Tcpip_NetworkInterface`, without loopback, isatap and Teredo.
package struct NetworkReading: Sendable, Equatable {
    package struct Interface: Sendable, Equatable {
        package var name: String
        package var bytesReceived: UInt64?
        package var bytesSent: UInt64?
        package var packetsReceived: UInt64?
        package var packetsSent: UInt64?
        /// Received and outbound.
        package var errors: UInt64?
        /// Received and outbound discards.
        package var dropped: UInt64?
        /// Bits per second; nil when unknown.
        package var bandwidth: UInt64?
        /// Ticks of the host's performance counter.
        package var timestamp: UInt64?
        /// Ticks per second.
        package var frequency: UInt64?

        package init(
            name: String,
            bytesReceived: UInt64? = nil,
            bytesSent: UInt64? = nil,
            packetsReceived: UInt64? = nil,
            packetsSent: UInt64? = nil,
            errors: UInt64? = nil,
            dropped: UInt64? = nil,
            bandwidth: UInt64? = nil,
            timestamp: UInt64? = nil,
            frequency: UInt64? = nil
        ) {
            self.name = name
            self.bytesReceived = bytesReceived
            self.bytesSent = bytesSent
            self.packetsReceived = packetsReceived
            self.packetsSent = packetsSent
            self.errors = errors
            self.dropped = dropped
            self.bandwidth = bandwidth
            self.timestamp = timestamp
            self.frequency = frequency
        }
    }

    package var interfaces: [Interface]

    package init(interfaces: [Interface]) { self.interfaces = interfaces }
}
