import Yams

/// Reads a fault file: YAML, a list of mappings with `hosts`, `fault`, `after`, `for` and the fault's own parameters.
package struct FaultFile: Sendable {
    /// What is wrong with a fault file, and where.
    package struct Failure: Error, Sendable, CustomStringConvertible {
        package let description: String

        init(entry: Int? = nil, _ text: String) {
            self.description = (entry.map { "fault \($0 + 1): " } ?? "faults: ") + text
        }
    }

    /// The fleet's addresses, for naming hosts.
    package var addresses: AddressRange
    /// What `after` counts from.
    package var start: FileTime

    package init(addresses: AddressRange, start: FileTime) {
        self.addresses = addresses
        self.start = start
    }

    /// - Throws: ``Failure`` that names the entry, the key and the value.
    package func parse(_ text: String) throws -> [Fault] {
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch {
            throw Failure("not YAML: \(error)")
        }
        // An empty file takes all faults away.
        guard let root, root != Node("", Tag(.null)) else { return [] }
        if case .scalar(let scalar) = root, scalar.string.isEmpty || scalar.string == "null" { return [] }
        guard case .sequence(let entries) = root else { throw Failure("the file must be a list of faults") }
        return try entries.enumerated().map { number, entry in try self.fault(entry, number: number) }
    }

    private func fault(_ node: Node, number: Int) throws -> Fault {
        guard case .mapping(let mapping) = node else { throw Failure(entry: number, "must be a mapping") }
        var fields = Fields(entry: number)
        for (key, value) in mapping {
            guard let name = key.scalar?.string else { throw Failure(entry: number, "a key is no text") }
            guard fields.values.updateValue(value, forKey: name) == nil else {
                throw Failure(entry: number, "\(name) is given twice")
            }
        }
        let hosts = try self.hosts(&fields)
        let name = try fields.required("fault")
        let after = try fields.duration("after") ?? 0
        let length = try fields.duration("for")
        let kind = try fields.kind(name)
        if let unknown = fields.values.keys.sorted().first {
            throw Failure(entry: number, "\(name) has no parameter \(unknown)")
        }
        let start = self.start.adding(seconds: after)
        return Fault(kind: kind, hosts: hosts, start: start, end: length.map { start.adding(seconds: $0) })
    }

    private func hosts(_ fields: inout Fields) throws -> [Int] {
        guard let node = fields.values.removeValue(forKey: "hosts") else {
            throw Failure(entry: fields.entry, "hosts is missing")
        }
        let texts: [String]
        switch node {
        case .scalar(let scalar): texts = scalar.string.split(separator: ",").map { String($0) }
        case .sequence(let items): texts = items.compactMap { $0.scalar?.string }
        default: throw Failure(entry: fields.entry, "hosts must be text or a list")
        }
        var hosts: [Int] = []
        for text in texts {
            let trimmed = text.filter { !$0.isWhitespace }
            if trimmed == "all" {
                hosts += 0..<self.addresses.count
                continue
            }
            guard let range = IPv4.range(trimmed) else {
                throw Failure(
                    entry: fields.entry,
                    "hosts: \(text) is no address, range (a-b), CIDR block or \"all\""
                )
            }
            let indices = self.addresses.indices(in: range)
            guard !indices.isEmpty else {
                throw Failure(entry: fields.entry, "hosts: \(text) holds no host of the fleet (\(self.addresses))")
            }
            hosts += indices
        }
        guard !hosts.isEmpty else { throw Failure(entry: fields.entry, "hosts names nobody") }
        return hosts
    }
}

/// The fields of one entry, taken out one after another.
private struct Fields {
    let entry: Int
    var values: [String: Node] = [:]

    mutating func text(_ name: String) throws -> String? {
        guard let node = self.values.removeValue(forKey: name) else { return nil }
        guard let text = node.scalar?.string else { throw FaultFile.Failure(entry: self.entry, "\(name) must be text") }
        return text
    }

    mutating func required(_ name: String) throws -> String {
        guard let text = try self.text(name) else { throw FaultFile.Failure(entry: self.entry, "\(name) is missing") }
        return text
    }

    /// Seconds; units are ms, s, m and h, and seconds without one.
    mutating func duration(_ name: String, signed: Bool = false) throws -> Double? {
        guard let text = try self.text(name) else { return nil }
        let units: [(String, Double)] = [("ms", 0.001), ("s", 1), ("m", 60), ("h", 3_600), ("", 1)]
        for (unit, factor) in units where text.hasSuffix(unit) {
            guard let number = Double(text.dropLast(unit.count)), number.isFinite, signed || number >= 0 else {
                continue
            }
            return number * factor
        }
        throw FaultFile.Failure(entry: self.entry, "\(name): \(text) is no duration such as 500ms, 30s, 5m or 1h")
    }

    mutating func integer(_ name: String, minimum: Int, maximum: Int = .max) throws -> Int? {
        guard let text = try self.text(name) else { return nil }
        guard let number = Int(text), number >= minimum, number <= maximum else {
            let range = maximum == .max ? "from \(minimum)" : "from \(minimum) to \(maximum)"
            throw FaultFile.Failure(entry: self.entry, "\(name): \(text) is no number \(range)")
        }
        return number
    }

    /// A code such as 0x80041001.
    mutating func status(_ name: String) throws -> UInt32? {
        guard let text = try self.text(name) else { return nil }
        let code = text.lowercased().hasPrefix("0x") ? UInt32(text.dropFirst(2), radix: 16) : UInt32(text)
        guard let code, code >= 0x8000_0000 else {
            throw FaultFile.Failure(entry: self.entry, "\(name): \(text) is no error such as 0x80041001")
        }
        return code
    }

    mutating func flag(_ name: String) throws -> Bool? {
        guard let text = try self.text(name) else { return nil }
        switch text {
        case "true": return true
        case "false": return false
        default: throw FaultFile.Failure(entry: self.entry, "\(name): \(text) is neither true nor false")
        }
    }

    mutating func wmiClass() throws -> String? {
        guard let name = try self.text("class") else { return nil }
        guard let found = WMIRepository.find(name) else {
            let known = WMIRepository.classes.map(\.name).joined(separator: ", ")
            throw FaultFile.Failure(entry: self.entry, "class: \(name) is not one of \(known)")
        }
        return found.name
    }

    /// On real hosts performance queries stall while a service restarts, so one of them is slow unless told otherwise.
    private mutating func slowClass() throws -> String? {
        if self.values["class"]?.scalar?.string == "all" {
            self.values["class"] = nil
            return nil
        }
        return try self.wmiClass() ?? PerformanceClasses.processor.name
    }

    mutating func kind(_ name: String) throws -> FaultKind {
        switch name {
        case "wrong_clock": return .wrongClock(offset: try self.duration("offset", signed: true) ?? 3_600)
        case "slow_query": return .slowQuery(delay: try self.duration("delay") ?? 20, wmiClass: try self.slowClass())
        case "stalled_connection": return try self.stalled()
        case "drop_mid_answer": return .dropMidAnswer
        case "unauthorized_after":
            return .unauthorizedAfter(
                requests: try self.integer("requests", minimum: 0) ?? 5,
                refuseLogins: try self.flag("refuse_logins") ?? false
            )
        case "access_denied": return .accessDenied
        case "quota": return .quota(limit: try self.integer("limit", minimum: 0) ?? 0)
        case "missing_class":
            return .missingClass(try self.wmiClass() ?? PerformanceClasses.networkInterface.name)
        case "provider_failure": return .providerFailure(wmiClass: try self.wmiClass())
        case "counter_reset": return .counterReset
        case "reboot": return .reboot(down: try self.duration("down") ?? 0)
        case "counters_32bit": return .narrowCounters
        case "garbage": return .garbage
        case "oversized_answer":
            return .oversizedAnswer(bytes: try self.integer("bytes", minimum: 1) ?? 64 * 1_024 * 1_024)
        case "refused": return .refused
        case "wrong_password": return .wrongPassword
        case "plain_refused": return try self.plainRefused()
        case "basic_only": return .basicOnly
        case "tls_expired_certificate": return .expiredCertificate
        case "tls_wrong_name": return .wrongNameCertificate
        case "tls_untrusted": return .untrustedCertificate
        default: return try self.dcomKind(name)
        }
    }

    private mutating func dcomKind(_ name: String) throws -> FaultKind {
        switch name {
        case "dcom_privacy_required": return .privacyRequired
        case "activation_denied": return .activationDenied
        case "hostname_bindings": return .hostnameBindings
        case "foreign_bindings": return .foreignBindings
        case "dynamic_port_closed": return .dynamicPortClosed(silently: try self.flag("silently") ?? false)
        case "small_fragments":
            // C706 obliges everybody to take 1,432 bytes.
            return .smallFragments(bytes: try self.integer("bytes", minimum: 1_432, maximum: 5_840) ?? 1_432)
        case "split_answers": return .splitAnswers(bytes: try self.integer("bytes", minimum: 16) ?? 64)
        case "namespace_denied": return .namespaceDenied
        case "enumeration_error":
            return .enumerationError(
                code: try self.status("code") ?? WBEMStatus.failed,
                rows: try self.integer("rows", minimum: 0) ?? 1,
                wmiClass: try self.wmiClass()
            )
        case "smart_enumerator_refused": return .plainEnumerators
        case "bad_signature": return .badSignature
        case "objects_reclaimed": return .objectsReclaimed(age: try self.duration("age") ?? 2)
        case "single_rows": return .singleRows
        case "timed_out_first": return .timedOutFirst
        case "pings_denied": return .pingsDenied
        case "single_interface": return .singleInterface
        default: return try self.discoveryKind(name)
        }
    }

    private mutating func discoveryKind(_ name: String) throws -> FaultKind {
        switch name {
        case "ports_closed": return .portsClosed(try self.ports())
        case "ports_silent": return .portsSilent(try self.ports())
        default:
            guard let decoy = Decoy(rawValue: name) else {
                throw FaultFile.Failure(entry: self.entry, "there is no fault \(name)")
            }
            return .decoy(decoy)
        }
    }

    /// A list with commas.
    private mutating func ports() throws -> Set<HostPort> {
        guard let text = try self.text("ports") else { return [.winrm] }
        return try Set(
            text.split(separator: ",").map { part in
                guard let port = HostPort(rawValue: part.filter { !$0.isWhitespace }), port != .smb else {
                    throw FaultFile.Failure(entry: self.entry, "ports: \(text) is no list of winrm, winrms and dcom")
                }
                return port
            }
        )
    }

    private mutating func stalled() throws -> FaultKind {
        switch try self.text("at") ?? "connect" {
        case "connect": return .stalledConnection(atQuery: false)
        case "query": return .stalledConnection(atQuery: true)
        case let other:
            throw FaultFile.Failure(entry: self.entry, "at: \(other) is neither connect nor query")
        }
    }

    private mutating func plainRefused() throws -> FaultKind {
        let status = try self.integer("status", minimum: 400) ?? 500
        guard status == 401 || status == 500 else {
            throw FaultFile.Failure(entry: self.entry, "status: \(status) is neither 401 nor 500")
        }
        return .plainRefused(status: status)
    }
}
