/// What keeps a connection that lives between polls in order: releases, pings, and its own end.
extension WMIConnection {
    /// Begins to look after the connection. The task ends with it.
    func beginUpkeep() {
        self.upkeep = Upkeep(limits: self.limits.upkeep, now: .now)
        self.upkeepTask = Task { [weak self] in
            while !Task.isCancelled {
                // Held only while there is something to do, so that a connection that nobody has any more ends.
                guard let next = await self?.lookAfter(at: .now) else { return }
                guard (try? await Task.sleep(until: next)) != nil else { return }
            }
        }
    }

    /// Does what is due.
    ///
    /// - Returns: when to come again; nil if the connection is closed.
    func lookAfter(at now: ContinuousClock.Instant) async -> ContinuousClock.Instant? {
        guard let upkeep = self.upkeep, case .ready(let exporter) = self.state else { return nil }
        guard self.isOpen else {
            // A query that runs finds out by itself, and says why.
            guard self.running == nil else { return now + .seconds(1) }
            // The host has closed it, or has forgotten what it held. Whoever uses this connection may not have noticed.
            self.upkeepTask = nil
            await self.close(deadline: .now + self.limits.upkeep.closeTimeout)
            return nil
        }
        switch upkeep.action(at: now, isBusy: self.running != nil, hasRetired: !self.ledger.retired.isEmpty) {
        case .wait(let instant):
            return instant
        case .release:
            await self.release(through: exporter, deadline: .now + self.limits.upkeep.closeTimeout)
            // What could not be given back waits for the next ping.
            guard self.ledger.retired.isEmpty else { return await self.pingNow(exporter) }
        case .ping:
            return await self.pingNow(exporter)
        case .close:
            // Not cancelled by its own end.
            self.upkeepTask = nil
            await self.close(deadline: .now + self.limits.upkeep.closeTimeout)
            return nil
        }
        return now
    }

    // MARK: - Pings

    /// - Returns: when to look again, at the earliest.
    private func pingNow(_ exporter: Exporter) async -> ContinuousClock.Instant {
        await self.ping(exporter)
        let now = ContinuousClock.now
        self.upkeep?.pinged(at: now)
        return now + .seconds(1)
    }

    /// Tells the object resolver that the host's objects are still needed.
    ///
    /// The resolver MAY compare the caller with its permissions ([MS-DCOM] 3.1.2.5.1.2 and 3.1.2.5.1.3), and need not
    /// ask for authentication at all; unlike activation and OXID resolution, pings are not among what KB5004442
    /// hardens. So pings are tried without a sign-in first, each on a TCP connection of its own: that costs no
    /// descriptor between pings, needs no password to be kept, and cannot count as a failed login after the password
    /// was changed. A host that refuses them gets them on the signed-in connection that has activated WMI, which is
    /// kept until this is known, and for good then. What a ping set keeps alive is a matter of the caller's identity
    /// on some hosts, so a set is never shared between the two.
    private func ping(_ exporter: Exporter) async {
        var references = Array(exporter.services.values)
        references.append(exporter.login)
        let objects = Set(references.filter { $0.flags & StandardReference.noPing == 0 }.map(\.oid))
        let timeout = self.limits.upkeep.pingTimeout
        guard self.pingSet.ping(for: objects) != nil else { return }
        if self.pingsSignedIn {
            if let resolver = self.resolver,
                await self.ping(objects, through: resolver, deadline: .now + timeout)
            {
                return
            }
            // The connection may have ended meanwhile; then only the other way is left.
            self.pingsSignedIn = false
            self.pingSet.forget()
            return
        }
        if await self.pingAnonymously(objects, deadline: .now + timeout) {
            await self.dropResolver()
            return
        }
        // A host that has once taken them keeps its set: a single failure proves nothing.
        guard let resolver = self.resolver, resolver.isOpen else { return }
        self.pingsSignedIn = await self.ping(objects, through: resolver, deadline: .now + timeout)
        if !self.pingsSignedIn { self.pingSet.forget() }
    }

    private func pingAnonymously(_ objects: Set<UInt64>, deadline: ContinuousClock.Instant) async -> Bool {
        do throws(RPCError) {
            let channel = try await self.dial(self.endpoint.address, self.endpoint.port, deadline)
            self.health.add(channel, isEssential: false)
            let isDone = await self.ping(objects, through: channel, deadline: deadline)
            await channel.close()
            self.health.remove(channel)
            return isDone
        } catch {
            return false
        }
    }

    /// - Returns: whether the host took it.
    private func ping(
        _ objects: Set<UInt64>,
        through channel: any RPCChannel,
        deadline: ContinuousClock.Instant
    ) async -> Bool {
        do throws(RPCError) {
            // Nothing happens on the signed-in connection, unless the host refused it there at first.
            try await channel.bind([.objectExporter], deadline: deadline)
        } catch {
            return false
        }
        // A set that the host has forgotten is made anew, once.
        for _ in 0..<2 {
            guard let ping = self.pingSet.ping(for: objects) else { return true }
            do throws(WMIError) {
                let status: HRESULT
                switch ping {
                case .simple(let request):
                    status = try await channel.invoke(
                        SimplePing.self,
                        request,
                        step: .pinging,
                        deadline: deadline
                    ).status
                case .complex(let request):
                    let answer = try await channel.invoke(
                        ComplexPing.self,
                        request,
                        step: .pinging,
                        deadline: deadline
                    )
                    status = answer.status
                    if status == .ok { self.pingSet.changed(answer.set, to: objects) }
                }
                if status == .ok { return true }
                guard status == .invalidSet || status == .invalidOID else { return false }
                self.pingSet.forget()
            } catch {
                return false
            }
        }
        return false
    }

    private func dropResolver() async {
        guard let resolver = self.resolver else { return }
        self.resolver = nil
        await resolver.close()
        self.health.remove(resolver)
    }
}
