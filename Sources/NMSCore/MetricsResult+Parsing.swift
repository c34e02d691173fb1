package import Foundation

extension MetricsResult {
    /// Reads a result from its JSON.
    ///
    /// Every result passes here on its way into the table, so that the form in which NMSlite writes them is read
    /// straight into the value; whatever else JSON allows (escapes, other keys, exponents) is left to Foundation's
    /// decoder, which takes ten times as long and says what is wrong.
    /// - Throws: `DecodingError`.
    package init(json: Data) throws {
        let parsed = json.withUnsafeBytes { bytes in
            var reader = PlainJSONReader(bytes)
            return MetricsResult(&reader)
        }
        self = try parsed ?? NMSJSON.decoder().decode(MetricsResult.self, from: json)
    }

    /// nil when it is not in the expected form.
    private init?(_ reader: inout PlainJSONReader) {
        self.init(jobID: "", deviceID: 0, timestamp: .distantPast, success: false)
        var seen = 0
        let isRead = reader.object { (key, reader) in
            switch key {
            case "job_id": reader.text { self.jobID = $0 } && Self.first(1, &seen)
            case "device_id": reader.integer { self.deviceID = Int($0) } && Self.first(2, &seen)
            case "timestamp": reader.time { self.timestamp = $0 } && Self.first(4, &seen)
            case "success": reader.boolean { self.success = $0 } && Self.first(8, &seen)
            case "error": (reader.null() || reader.text { self.error = $0 }) && Self.first(16, &seen)
            case "error_code":
                (reader.null()
                    || reader.text { self.errorCode = PollErrorCode(rawValue: $0) } && self.errorCode != nil)
                    && Self.first(32, &seen)
            case "credential_id":
                (reader.null() || reader.integer { self.credentialID = Int($0) }) && Self.first(64, &seen)
            case "identity":
                (reader.null() || HostIdentity.read(&reader) { self.identity = $0 }) && Self.first(128, &seen)
            case "metrics":
                (reader.null() || DeviceMetrics.read(&reader) { self.metrics = $0 }) && Self.first(256, &seen)
            default: false
            }
        }
        guard isRead, seen & 15 == 15, reader.isAtEnd else { return nil }
    }

    /// Whether the key is there for the first time: what a second one means is not for us to say.
    fileprivate static func first(_ bit: Int, _ seen: inout Int) -> Bool {
        defer { seen |= bit }
        return seen & bit == 0
    }
}

extension HostIdentity {
    fileprivate static func read(_ reader: inout PlainJSONReader, _ take: (HostIdentity) -> Void) -> Bool {
        var identity = HostIdentity()
        var seen = 0
        let isRead = reader.object { (key, reader) in
            switch key {
            case "hostname":
                (reader.null() || reader.text { identity.hostname = $0 }) && MetricsResult.first(1, &seen)
            case "os": (reader.null() || reader.text { identity.os = $0 }) && MetricsResult.first(2, &seen)
            case "build": (reader.null() || reader.text { identity.build = $0 }) && MetricsResult.first(4, &seen)
            default: false
            }
        }
        if isRead { take(identity) }
        return isRead
    }
}

extension DeviceMetrics {
    fileprivate static func read(_ reader: inout PlainJSONReader, _ take: (DeviceMetrics) -> Void) -> Bool {
        var metrics = DeviceMetrics(deviceID: 0, timestamp: .distantPast)
        var seen = 0
        let isRead = reader.object { (key, reader) in
            switch key {
            case "device_id": reader.integer { metrics.deviceID = Int($0) } && MetricsResult.first(1, &seen)
            case "timestamp": reader.time { metrics.timestamp = $0 } && MetricsResult.first(2, &seen)
            case "cpu": CPU.read(&reader, &metrics.cpu) && MetricsResult.first(4, &seen)
            case "memory": Capacity.read(&reader, &metrics.memory) && MetricsResult.first(8, &seen)
            case "disk": Capacity.read(&reader, &metrics.disk) && MetricsResult.first(16, &seen)
            case "network": Network.read(&reader, &metrics.network) && MetricsResult.first(32, &seen)
            case "process_count":
                (reader.null() || reader.integer { metrics.processCount = Int($0) }) && MetricsResult.first(64, &seen)
            case "collection_duration_ms":
                (reader.null() || reader.integer { metrics.collectionDurationMs = Int($0) })
                    && MetricsResult.first(128, &seen)
            case "job_id": (reader.null() || reader.text { metrics.jobID = $0 }) && MetricsResult.first(256, &seen)
            default: false
            }
        }
        guard isRead, seen & 63 == 63 else { return false }
        take(metrics)
        return true
    }
}

extension DeviceMetrics.CPU {
    fileprivate static func read(_ reader: inout PlainJSONReader, _ value: inout Self) -> Bool {
        var seen = 0
        return reader.object { (key, reader) in
            switch key {
            case "usage_percent":
                (reader.null() || reader.number { value.usagePercent = $0 }) && MetricsResult.first(1, &seen)
            default: false
            }
        }
    }
}

extension DeviceMetrics.Capacity {
    fileprivate static func read(_ reader: inout PlainJSONReader, _ value: inout Self) -> Bool {
        var seen = 0
        return reader.object { (key, reader) in
            switch key {
            case "total_bytes":
                (reader.null() || reader.integer { value.totalBytes = $0 }) && MetricsResult.first(1, &seen)
            case "used_bytes":
                (reader.null() || reader.integer { value.usedBytes = $0 }) && MetricsResult.first(2, &seen)
            case "usage_percent":
                (reader.null() || reader.number { value.usagePercent = $0 }) && MetricsResult.first(4, &seen)
            default: false
            }
        }
    }
}

extension DeviceMetrics.Network {
    fileprivate static func read(_ reader: inout PlainJSONReader, _ value: inout Self) -> Bool {
        var seen = 0
        return reader.object { (key, reader) in
            switch key {
            case "bytes_sent_per_sec":
                (reader.null() || reader.integer { value.bytesSentPerSec = $0 }) && MetricsResult.first(1, &seen)
            case "bytes_recv_per_sec":
                (reader.null() || reader.integer { value.bytesRecvPerSec = $0 }) && MetricsResult.first(2, &seen)
            case "utilization_percent":
                (reader.null() || reader.number { value.utilizationPercent = $0 }) && MetricsResult.first(4, &seen)
            case "packets_sent":
                (reader.null() || reader.integer { value.packetsSent = $0 }) && MetricsResult.first(8, &seen)
            case "packets_recv":
                (reader.null() || reader.integer { value.packetsRecv = $0 }) && MetricsResult.first(16, &seen)
            case "errors": (reader.null() || reader.integer { value.errors = $0 }) && MetricsResult.first(32, &seen)
            case "dropped": (reader.null() || reader.integer { value.dropped = $0 }) && MetricsResult.first(64, &seen)
            default: false
            }
        }
    }
}
