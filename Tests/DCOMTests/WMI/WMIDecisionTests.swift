import Testing

@testable import DCOM

/// The pure parts: the ledger, the upkeep, ping sets, addresses, bounds of a query, names of errors.
@Suite struct WMIDecisionTests {
    private let one: GUID = "00000001-0000-0000-0000-000000000000"
    private let two: GUID = "00000002-0000-0000-0000-000000000000"

    private func reference(_ ipid: GUID, _ count: UInt32, flags: UInt32 = 0) -> StandardReference {
        StandardReference(flags: flags, publicReferences: count, oxid: 1, oid: 2, ipid: ipid)
    }

    // MARK: - The ledger

    @Test func everyReferenceIsGivenBackOnce() {
        var ledger = ReferenceLedger()
        ledger.hold(self.reference(self.one, 5))
        ledger.hold(self.reference(self.one, 2))
        ledger.hold(self.reference(self.two, 5))
        ledger.retire(self.one)
        ledger.retire(self.one)
        #expect(ledger.takeRetired() == [InterfaceReferenceCount(ipid: self.one, publicReferences: 7)])
        #expect(ledger.takeRetired().isEmpty)
        ledger.retireAll()
        let rest = ledger.takeRetired()
        #expect(rest == [InterfaceReferenceCount(ipid: self.two, publicReferences: 5)])
        #expect(ledger.isEmpty)
        ledger.giveUp(rest)
        #expect(ledger.takeRetired() == rest)
    }

    @Test func hostileCountsDoNotOverflow() {
        var ledger = ReferenceLedger()
        ledger.hold(self.reference(self.one, .max))
        ledger.hold(self.reference(self.one, .max))
        ledger.retire(self.one)
        ledger.hold(self.reference(self.one, .max))
        ledger.retire(self.one)
        let taken = ledger.takeRetired()
        #expect(taken == [InterfaceReferenceCount(ipid: self.one, publicReferences: .max)])
        ledger.giveUp(taken + taken)
        #expect(ledger.takeRetired() == taken)
    }

    @Test func oneReleaseCarriesNoMoreThanItCan() {
        var ledger = ReferenceLedger()
        for number in 0...UInt32(RemRelease.maximumReferences) {
            ledger.hold(self.reference(GUID(number, 0, 0, 0), 1))
        }
        ledger.retireAll()
        #expect(ledger.takeRetired().count == RemRelease.maximumReferences)
        #expect(ledger.takeRetired().count == 1)
    }

    // MARK: - The upkeep

    @Test func upkeepComesInTime() {
        let start = ContinuousClock.now
        var upkeep = Upkeep(limits: WMIUpkeepLimits(), now: start)
        func action(_ seconds: Int, isBusy: Bool = false, hasRetired: Bool = false) -> Upkeep.Action {
            upkeep.action(at: start + .seconds(seconds), isBusy: isBusy, hasRetired: hasRetired)
        }
        #expect(action(1) == .wait(until: start + .seconds(30)))
        #expect(action(1, hasRetired: true) == .release)
        #expect(action(1, isBusy: true, hasRetired: true) == .wait(until: start + .seconds(30)))
        #expect(action(30) == .ping)
        #expect(action(30, isBusy: true) == .ping)
        upkeep.pinged(at: start + .seconds(31))
        #expect(action(31) == .wait(until: start + .seconds(151)))
        upkeep.pinged(at: start + .seconds(590))
        #expect(action(595) == .wait(until: start + .seconds(600)))
        #expect(action(600, hasRetired: true) == .close)
        #expect(action(600, isBusy: true) == .wait(until: start + .seconds(710)))
        upkeep.used(at: start + .seconds(600))
        #expect(action(605) == .wait(until: start + .seconds(710)))
    }

    @Test func pingSetsChange() {
        var set = PingSet()
        #expect(set.ping(for: []) == nil)
        #expect(
            set.ping(for: [2, 1]) == .complex(.init(set: 0, sequence: 1, added: [1, 2], removed: []))
        )
        set.changed(9, to: [1, 2])
        #expect(set.ping(for: [1, 2]) == .simple(.init(set: 9)))
        #expect(set.ping(for: [2, 3]) == .complex(.init(set: 9, sequence: 2, added: [3], removed: [1])))
        set.changed(9, to: [2, 3])
        #expect(set.ping(for: []) == .complex(.init(set: 9, sequence: 3, added: [], removed: [2, 3])))
        set.forget()
        #expect(set.ping(for: [3]) == .complex(.init(set: 0, sequence: 1, added: [3], removed: [])))
    }

    // MARK: - Addresses

    private func candidates(_ addresses: [String], isAllowed: (String) -> Bool = { _ in true }) -> [String] {
        ExporterAddresses.candidates(
            addresses.map { StringBinding(tower: StringBinding.tcp, address: $0) },
            address: "192.0.2.1",
            isAllowed: isAllowed
        ).map { "\($0.address) \($0.port)" }
    }

    @Test func theUsersAddressComesFirst() {
        #expect(self.candidates(["HOST[1000]", "10.0.0.1[1000]"]) == ["192.0.2.1 1000", "10.0.0.1 1000"])
        #expect(self.candidates(["10.0.0.1[1000]"], isAllowed: { _ in false }) == ["192.0.2.1 1000"])
        #expect(self.candidates(["192.0.2.1[1000]"]) == ["192.0.2.1 1000"])
        #expect(self.candidates(["HOST", "10.0.0.1"]).isEmpty)
    }

    @Test func namesAreNeverFollowedNorAskedAbout() {
        let candidates = self.candidates(["evil.example[1000]", "10.0.0.1[1000]"]) { address in
            #expect(address == "10.0.0.1")
            return false
        }
        #expect(candidates == ["192.0.2.1 1000"])
    }

    @Test func aHostCannotKeepTheClientBusy() {
        let many = (1...200).map { "10.0.0.\($0)[\($0)]" }
        #expect(self.candidates(many).count == ExporterAddresses.maximumCandidates)
    }

    // MARK: - A query's rounds

    @Test func theHostGetsAShareOfTheTime() throws {
        let now = ContinuousClock.now
        let flag = CancellationFlag()
        let fetch = RowFetch(limits: WMILimits(), flag: flag, causality: .null, deadline: now + .seconds(10))
        #expect(try fetch.hostTimeout(at: now) == 9000)
        #expect(throws: WMIError.self) { try fetch.hostTimeout(at: now + .seconds(10)) }
        // Asking again needs room for the way there and back.
        var repeated = fetch
        try repeated.add(rows: 0, bytes: 0)
        #expect(try fetch.hostTimeout(at: now + .milliseconds(9_900)) == 90)
        #expect(throws: WMIError.self) { try repeated.hostTimeout(at: now + .milliseconds(9_900)) }
        let endless = RowFetch(limits: WMILimits(), flag: flag, causality: .null, deadline: now + .seconds(1e9))
        // Never WBEM_INFINITE.
        #expect(try endless.hostTimeout(at: now) == UInt32(Int32.max))
        flag.cancel(after: .seconds(60)) {}
        flag.disarm()
        #expect { try fetch.hostTimeout(at: now) } throws: { ($0 as? WMIError)?.category == .cancelled }
    }

    @Test func outOfTimeLeavesTheConnectionOpen() {
        let now = ContinuousClock.now
        let fetch = RowFetch(limits: WMILimits(), flag: CancellationFlag(), causality: .null, deadline: now)
        #expect { try fetch.hostTimeout(at: now) } throws: { error in
            guard let error = error as? WMIError else { return false }
            return error.category == .timeout && error.leavesConnectionOpen
        }
    }

    // MARK: - Names

    @Test(arguments: ["root/cimv2", "root\\cimv2", "//./root/cimv2", "\\\\.\\root\\cimv2"])
    func namespacesHaveOneForm(name: String) {
        #expect(WMIConnection.canonical(name) == "//./root/cimv2")
    }

    @Test func nothingShowsAPassword() {
        let credential = WMICredential(username: "LAB\\user", password: "secret")
        #expect("\(credential)" == "NTLM as LAB\\user")
        var text = ""
        dump(credential, to: &text)
        #expect(!text.contains("secret"))
        #expect(!String(reflecting: credential).contains("secret"))
    }

    @Test func errorsSayWhatToDo() {
        #expect(
            WMIError(HRESULT.accessDenied, during: .activating).description
                == "activating WMI (RemoteCreateInstance): the host answered with 0x80070005 E_ACCESSDENIED; "
                + "the user needs the right to launch and activate DCOM objects from remote"
        )
        #expect(WMIError(.connectionRefused, during: .connectingToExporter).description.contains("dynamic port"))
    }
}
