internal import Glibc

/// Numbers about this process, under the names that every client library of Prometheus gives them.
///
/// Linux's `/proc` tells them; where there is none, they are absent.
package enum ProcessMetrics {
    package static let families: [MetricFamily] = [
        .counter("process_cpu_seconds_total", "User and system CPU time spent, in seconds."),
        .gauge("process_resident_memory_bytes", "Resident memory, in bytes."),
        .gauge("process_virtual_memory_bytes", "Virtual memory, in bytes."),
        .gauge("process_start_time_seconds", "When the process started, in seconds since 1970."),
        .gauge("process_open_fds", "Open file descriptors."),
        .gauge("process_max_fds", "The most file descriptors that the process may have open."),
        .gauge("process_threads", "Threads of the process."),
    ]

    package static func sample(into samples: inout MetricSamples) {
        if let text = ProcFile.read("/proc/self/stat"), let stat = ProcessStat(parsing: text) {
            let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
            samples.set("process_cpu_seconds_total", to: Double(stat.cpuTicks) / ticks)
            samples.set("process_virtual_memory_bytes", to: stat.virtualBytes)
            samples.set("process_resident_memory_bytes", to: stat.residentPages * sysconf(Int32(_SC_PAGESIZE)))
            samples.set("process_threads", to: stat.threads)
            if let system = ProcFile.read("/proc/stat"), let boot = ProcessStat.bootTime(parsing: system) {
                samples.set("process_start_time_seconds", to: Double(boot) + Double(stat.startTicks) / ticks)
            }
        }
        if let open = self.openDescriptors() { samples.set("process_open_fds", to: open) }
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            samples.set("process_max_fds", to: UInt64(limit.rlim_cur))
        }
    }

    private static func openDescriptors() -> Int? {
        guard let directory = opendir("/proc/self/fd") else { return nil }
        defer { closedir(directory) }
        var entries = 0
        while readdir(directory) != nil { entries += 1 }
        // Without ".", ".." and the descriptor of this very directory.
        return entries - 3
    }
}

/// What `/proc/<pid>/stat` says (proc(5)).
struct ProcessStat: Equatable {
    /// User and system time, in clock ticks.
    var cpuTicks: UInt64
    var threads: Int
    /// Since the machine was started, in clock ticks.
    var startTicks: UInt64
    var virtualBytes: UInt64
    var residentPages: Int

    /// nil when it is not what proc(5) describes.
    init?(parsing text: String) {
        // The second field is the program's name in parentheses, which may hold anything, these included.
        guard let end = text.lastIndex(of: ")") else { return nil }
        // Begins with the third field of proc(5).
        let fields = text[text.index(after: end)...].split(whereSeparator: \.isWhitespace)
        func field<Number: FixedWidthInteger>(_ number: Int) -> Number? {
            fields.count > number - 3 ? Number(fields[number - 3]) : nil
        }
        guard let user: UInt64 = field(14), let system: UInt64 = field(15), let threads: Int = field(20),
            let start: UInt64 = field(22), let virtual: UInt64 = field(23), let resident: Int = field(24)
        else { return nil }
        self.cpuTicks = user + system
        self.threads = threads
        self.startTicks = start
        self.virtualBytes = virtual
        self.residentPages = resident
    }

    /// `btime` of `/proc/stat`: when the machine was started, in seconds since 1970.
    static func bootTime(parsing text: String) -> UInt64? {
        text.split(separator: "\n").first { $0.hasPrefix("btime ") }.flatMap { UInt64($0.dropFirst("btime ".count)) }
    }
}

private enum ProcFile {
    /// Files of `/proc` are made when they are read and tell no size before.
    static func read(_ path: String) -> String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(contentsOf: chunk[..<count])
        }
    }
}
