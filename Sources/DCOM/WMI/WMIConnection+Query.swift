/// Queries.
extension WMIConnection {
    /// Runs a WQL query and fetches all of its rows.
    ///
    /// - Parameters:
    ///   - wql: name the columns; `SELECT *` costs the host and the network dearly.
    ///   - namespace: of WMI; with or without the host (`//./root/cimv2`).
    ///   - deadline: for all of it. The host is told to give up a little earlier.
    /// - Throws: ``WMIError``. Unless it suggests to reconnect, or ``isOpen`` says otherwise, further queries may
    ///   follow.
    package func query(
        _ wql: String,
        namespace: String = "root/cimv2",
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> [WMIObject] {
        guard self.isOpen else { throw .closed }
        do throws(WMIError) {
            return try await self.shielded(.startingQuery) { connection, flag in
                await connection.run(wql, namespace: namespace, flag: flag, deadline: deadline)
            }
        } catch {
            if !error.leavesConnectionOpen { self.health.close() }
            throw error
        }
    }

    /// Gives back what finished queries have left, without waiting until there is a batch of it.
    ///
    /// Worth a call at the end of a poll of other than four queries; otherwise it waits for the next ping.
    package func releaseUnused(deadline: ContinuousClock.Instant) async {
        guard self.isOpen, self.running == nil, case .ready(let exporter) = self.state else { return }
        await self.release(through: exporter, deadline: deadline)
    }

    private func run(
        _ wql: String,
        namespace: String,
        flag: CancellationFlag,
        deadline: ContinuousClock.Instant
    ) async -> Result<[WMIObject], WMIError> {
        let result: Result<[WMIObject], WMIError>
        do throws(WMIError) {
            let services = try await self.openNamespace(namespace, deadline: deadline)
            if flag.isCancelled { throw .cancelled(.startingQuery) }
            result = .success(try await self.rows(of: wql, services, flag: flag, deadline: deadline))
        } catch {
            result = .failure(error)
        }
        self.upkeep?.used(at: .now)
        if self.ledger.retired.count >= self.limits.upkeep.releaseBatch, case .ready(let exporter) = self.state,
            exporter.channel.isOpen, !flag.isCancelled
        {
            // The rows are there: a host that does not answer this does not keep them back for long.
            await self.release(through: exporter, deadline: min(deadline, .now + self.limits.upkeep.releaseTimeout))
        }
        return result
    }

    private func rows(
        of wql: String,
        _ services: StandardReference,
        flag: CancellationFlag,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> [WMIObject] {
        let causality = self.newGUID()
        let request = ExecQuery.Request(this: try self.this(causality), query: wql)
        let answer = try await self.call(
            ExecQuery.self,
            services.ipid,
            request,
            step: .startingQuery,
            deadline: deadline
        )
        let enumerator = try await self.taken(answer, step: .startingQuery, deadline: deadline)
        defer { self.ledger.retire(enumerator.ipid) }
        var fetch = RowFetch(limits: self.limits, flag: flag, causality: causality, deadline: deadline)
        self.decoder.beginEnumeration()
        if self.enumeration == .smart {
            if let rows = try await self.smartRows(enumerator, &fetch) { return rows }
            // The host has no smart enumerator: the plain one from now on.
            self.enumeration = .objects
        }
        do throws(WMIError) {
            return try await self.plainRows(enumerator, &fetch)
        } catch {
            guard fetch.requests <= 1, fetch.rows == 0, Self.isRefusal(error) else { throw error }
            guard let rows = try await self.smartRows(enumerator, &fetch) else { throw error }
            self.enumeration = .smart
            return rows
        }
    }

    /// Whether a host does not have the method or the interface, so that the other way may work.
    private static func isRefusal(_ error: WMIError) -> Bool {
        switch error.status {
        case .result(.notImplemented), .result(.noInterface), .result(.wbemNotSupported): true
        case .fault(.operationRangeError), .fault(.unknownInterface): true
        case .none: error.isInterfaceRefused
        default: false
        }
    }

    // MARK: - Fetching

    private func plainRows(
        _ enumerator: StandardReference,
        _ fetch: inout RowFetch
    ) async throws(WMIError) -> [WMIObject] {
        var rows: [WMIObject] = []
        while true {
            let request = EnumNext.Request(
                this: try self.this(fetch.causality),
                timeout: try fetch.hostTimeout(at: .now),
                count: UInt32(clamping: self.limits.batchSize)
            )
            let answer = try await self.call(
                EnumNext.self,
                enumerator.ipid,
                request,
                step: .fetching,
                deadline: fetch.deadline
            )
            try fetch.add(rows: answer.objects.count, bytes: answer.objects.reduce(0) { $0 + $1.size })
            for object in answer.objects {
                guard case .custom(_, _, let data) = object.kind else {
                    // Not by value: then it is a reference, and counted.
                    if let reference = object.standard {
                        self.ledger.hold(reference)
                        self.ledger.retire(reference.ipid)
                    }
                    throw .protocolViolation(.fetching, "a row that is not an object by value")
                }
                do throws(WMIOError) {
                    rows.append(try self.decoder.decode(data))
                } catch {
                    throw .malformed(.fetching, error)
                }
            }
            if try fetch.isEnd(answer.result, count: answer.objects.count) { return rows }
        }
    }

    /// - Returns: nil if the host has no smart enumerator.
    private func smartRows(
        _ enumerator: StandardReference,
        _ fetch: inout RowFetch
    ) async throws(WMIError) -> [WMIObject]? {
        guard let smart = try await self.smartEnumerator(enumerator, fetch) else { return nil }
        defer { self.ledger.retire(smart.ipid) }
        let proxy = self.newGUID()
        var rows: [WMIObject] = []
        while true {
            let request = SmartNext.Request(
                this: try self.this(fetch.causality),
                proxy: proxy,
                timeout: try fetch.hostTimeout(at: .now),
                count: UInt32(clamping: self.limits.batchSize)
            )
            let answer = try await self.call(
                SmartNext.self,
                smart.ipid,
                request,
                step: .fetching,
                deadline: fetch.deadline
            )
            let decoded: [WMIObject]
            do throws(WMIOError) {
                decoded = answer.buffer.isEmpty ? [] : try self.decoder.decode(objectArray: answer.buffer)
            } catch {
                throw .malformed(.fetching, error)
            }
            // What came counts against the limits, not what the host says.
            guard decoded.count == Int(answer.returned) else {
                throw .protocolViolation(.fetching, "\(decoded.count) rows where \(answer.returned) were announced")
            }
            try fetch.add(rows: decoded.count, bytes: answer.buffer.count)
            rows += decoded
            if try fetch.isEnd(answer.result, count: decoded.count) { return rows }
        }
    }

    private func smartEnumerator(
        _ enumerator: StandardReference,
        _ fetch: RowFetch
    ) async throws(WMIError) -> StandardReference? {
        guard case .ready(let exporter) = self.state else { throw .closed }
        let answer: RemQueryInterface.Response
        do throws(WMIError) {
            answer = try await self.call(
                RemQueryInterface.self,
                exporter.remUnknown,
                RemQueryInterface.Request(
                    this: try self.this(fetch.causality),
                    ipid: enumerator.ipid,
                    references: 1,
                    interfaces: [RPCInterface.wbemFetchSmartEnum.uuid]
                ),
                step: .startingQuery,
                deadline: fetch.deadline
            )
        } catch {
            guard Self.isRefusal(error) else { throw error }
            return nil
        }
        guard let first = answer.results.first, !answer.result.isFailure, !first.result.isFailure else { return nil }
        let fetcher = first.reference
        self.ledger.hold(fetcher)
        defer { self.ledger.retire(fetcher.ipid) }
        do throws(WMIError) {
            let answer = try await self.call(
                GetSmartEnum.self,
                fetcher.ipid,
                GetSmartEnum.Request(this: try self.this(fetch.causality)),
                step: .startingQuery,
                deadline: fetch.deadline
            )
            return try await self.taken(answer, step: .startingQuery, deadline: fetch.deadline)
        } catch {
            guard Self.isRefusal(error) else { throw error }
            return nil
        }
    }

    // MARK: - Namespaces

    func openNamespace(
        _ namespace: String,
        deadline: ContinuousClock.Instant
    ) async throws(WMIError) -> StandardReference {
        guard case .ready(let exporter) = self.state else { throw .misuse("a query before WMI's port was opened") }
        let name = Self.canonical(namespace)
        if let services = exporter.services[name.lowercased()] { return services }
        guard exporter.services.count < self.limits.maximumNamespaces else {
            throw .misuse("more than \(self.limits.maximumNamespaces) namespaces on one connection")
        }
        let answer = try await self.call(
            NTLMLogin.self,
            exporter.login.ipid,
            NTLMLogin.Request(this: try self.this(self.newGUID()), networkResource: name),
            step: .openingNamespace,
            deadline: deadline
        )
        let services = try await self.taken(answer, step: .openingNamespace, deadline: deadline)
        self.withExporter { $0.services[name.lowercased()] = services }
        return services
    }

    /// `root\cimv2` and `root/cimv2` are `//./root/cimv2`.
    static func canonical(_ namespace: String) -> String {
        let path = String(namespace.map { $0 == "\\" ? "/" : $0 })
        return path.hasPrefix("//") ? path : "//./" + path
    }
}
