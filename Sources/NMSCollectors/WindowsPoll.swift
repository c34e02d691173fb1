internal import Foundation
internal import NMSCore

/// One poll of one host: its queries in order over one connection, which is opened, or opened anew, where needed.
actor WindowsPoll<Source: WindowsCollector> {
    /// New connections in the course of one poll: one, and another for an answer that broke the first. More would be
    /// hammering.
    private static var connectionsPerPoll: Int { 2 }
    private static var hostnameTimeout: Duration { .seconds(5) }

    /// No connection could be had: what follows would fail the same way.
    private struct ConnectionFailure: Error {
        var failure: PollFailure
    }

    private let collector: Source
    private let target: CollectorTarget
    private var opened = 0
    private(set) var connection: Source.Connection?

    init(collector: Source, target: CollectorTarget, warm: Source.Connection?) {
        self.collector = collector
        self.target = target
        self.connection = warm
    }

    /// - Throws: ``PollFailure`` when no group could be read, or `CancellationError`.
    func run(groups: Set<CounterGroup>) async throws -> RawSample {
        var sample = RawSample()
        var succeeded = false
        var broken: PollFailure?
        for group in WindowsQueries.order where groups.contains(group) {
            if let broken {
                WindowsQueries.fail(group, broken, in: &sample)
                continue
            }
            do {
                let rows = try await self.rows(of: WindowsQueries.wql(group))
                WindowsQueries.decode(group, rows: rows, into: &sample)
                succeeded = true
            } catch let failure as ConnectionFailure {
                // What was read before is kept; of several failures the first says most.
                guard succeeded else { throw sample.failures.first?.failure ?? failure.failure }
                broken = failure.failure
                WindowsQueries.fail(group, failure.failure, in: &sample)
            } catch let failure as PollFailure {
                WindowsQueries.fail(group, failure, in: &sample)
            }
        }
        if !succeeded, let first = sample.failures.first { throw first.failure }
        if broken == nil, groups.contains(.system) { await self.addHostname(to: &sample) }
        return sample
    }

    func close() async {
        await self.connection?.close()
        self.connection = nil
    }

    /// The host's name costs a query, so it is asked once per boot, last and briefly; without it the poll is complete.
    private func addHostname(to sample: inout RawSample) async {
        let boot = (try? sample.system?.get())?.bootTime
        let device = self.target.deviceID
        if let known = self.collector.sessions.hostname(of: device, boot: boot) {
            sample.identity.hostname = known
        } else if let rows = try? await self.rows(of: WindowsQueries.computerSystem, timeout: Self.hostnameTimeout),
            let name = WindowsQueries.hostname(rows)
        {
            self.collector.sessions.remember(hostname: name, of: device, boot: boot)
            sample.identity.hostname = name
        }
    }

    // MARK: - Queries

    /// Rows of a query beside those of the groups.
    ///
    /// - Throws: ``PollFailure`` or `CancellationError`.
    func identityRows(of wql: String) async throws -> [Source.Row] {
        do { return try await self.rows(of: wql) } catch let failure as ConnectionFailure { throw failure.failure }
    }

    private func rows(of wql: String, timeout: Duration? = nil) async throws -> [Source.Row] {
        let timeout = timeout ?? self.collector.limits.queryTimeout
        do {
            return try await self.ask(wql, timeout: timeout)
        } catch let error as TransportFailure
            where error.suggestsReconnect && self.opened < Self.connectionsPerPoll
        {
            // The host had closed a kept connection, or wants a new sign-in: once more on a new one.
            await self.close()
            do { return try await self.ask(wql, timeout: timeout) } catch let error as TransportFailure {
                throw try await self.failure(of: error)
            }
        } catch let error as TransportFailure {
            throw try await self.failure(of: error)
        }
    }

    private func ask(_ wql: String, timeout: Duration) async throws -> [Source.Row] {
        let connection = try await self.openConnection()
        let deadline = min(.now + timeout, self.target.deadline)
        do {
            return try await self.collector.rows(of: wql, over: connection, deadline: deadline)
        } catch {
            throw self.checked(error)
        }
    }

    /// What an error means, when nobody has cancelled this poll and the connection ended by itself among others.
    private func checked(_ error: Source.Failure) -> TransportFailure {
        let error = self.collector.transportFailure(error, at: self.target)
        guard error.isCancellation, !Task.isCancelled else { return error }
        let summary = self.collector.endpointSummary(self.target)
        return TransportFailure(
            PollFailure(.connectionReset, "\(summary): the connection was closed in the middle of a query"),
            suggestsReconnect: true
        )
    }

    private func failure(of error: TransportFailure) async throws -> any Error {
        if error.isCancellation { throw CancellationError() }
        if error.isLocalShortage { throw LocalShortage(error.failure.message) }
        if let connection = self.connection, !connection.isOpen {
            await self.close()
            // Further queries would meet the same, at the price of another sign-in each.
            if error.failure.code == .accessDenied { return ConnectionFailure(failure: error.failure) }
        }
        guard error.countsAsFailedLogin else { return error.failure }
        // A login that failed outside a sign-in, as with Basic, counts all the same, and is not tried again.
        let credential = self.target.credential.credential.id
        do {
            try await self.target.gate.authenticate(deviceID: self.target.deviceID, credentialID: credential) {
                throw error.failure
            }
        } catch is PollFailure {}
        return ConnectionFailure(failure: error.failure)
    }

    // MARK: - Connection

    private func openConnection() async throws -> Source.Connection {
        if let connection = self.connection { return connection }
        guard self.opened < Self.connectionsPerPoll else {
            let summary = self.collector.endpointSummary(self.target)
            throw ConnectionFailure(
                failure: PollFailure(.connectionReset, "\(summary): the connection broke repeatedly in one poll")
            )
        }
        self.opened += 1
        let connection = try await self.connect()
        self.connection = connection
        do {
            try await self.signIn(connection)
            return connection
        } catch let error as TransportFailure {
            await self.close()
            if error.isCancellation { throw CancellationError() }
            if error.isLocalShortage { throw LocalShortage(error.failure.message) }
            throw ConnectionFailure(failure: error.failure)
        } catch let failure as PollFailure {
            await self.close()
            throw ConnectionFailure(failure: failure)
        }
    }

    private func connect() async throws -> Source.Connection {
        let deadline = min(.now + self.collector.limits.connectTimeout, self.target.deadline)
        do {
            return try await self.collector.connect(to: self.target, deadline: deadline)
        } catch {
            let error = self.collector.transportFailure(error, at: self.target)
            if error.isCancellation { throw CancellationError() }
            if error.isLocalShortage { throw LocalShortage(error.failure.message) }
            // Nobody there was asked for anything: another credential may have another door, with another protocol.
            var failure = error.failure
            failure.next = .otherPort
            throw ConnectionFailure(failure: failure)
        }
    }

    private func signIn(_ connection: Source.Connection) async throws {
        let (collector, target) = (self.collector, self.target)
        let deadline = { @Sendable in min(.now + collector.limits.signInTimeout, target.deadline) }
        // Outside the gate: a host that stalls here must not keep others with this credential waiting.
        do {
            try await collector.prepareSignIn(over: connection, to: target, deadline: deadline())
        } catch {
            throw collector.transportFailure(error, at: target)
        }
        try await target.gate.authenticate(
            deviceID: target.deviceID,
            credentialID: target.credential.credential.id
        ) {
            do throws(Source.Failure) {
                // From now on: waiting for the gate was no fault of the host.
                try await collector.signIn(over: connection, to: target, deadline: deadline())
            } catch {
                let error = collector.transportFailure(error, at: target)
                if error.isCancellation { throw CancellationError() }
                if error.isLocalShortage { throw LocalShortage(error.failure.message) }
                throw error.failure
            }
        }
        // Outside again: a firewall in front of what comes next must not keep others waiting, either.
        do {
            try await collector.finishSignIn(over: connection, to: target, deadline: deadline())
        } catch {
            throw collector.transportFailure(error, at: target)
        }
    }
}
