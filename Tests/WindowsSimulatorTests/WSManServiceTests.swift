import Testing
import WinRM

@testable import WindowsSimulator

/// Requests as bytes, answers as bytes; WinRM's request builder and XML parser stand in for a client.
struct WSManServiceTests {
    private static let now = HostModelTests.epoch.adding(seconds: 1_000)
    private static let disks = "SELECT DeviceID, Size FROM Win32_LogicalDisk"

    private let service = WSManService()
    private let host: SimulatedHost

    /// An answer, taken apart.
    private struct Answer {
        var status: Int
        var action = ""
        var relatesTo = ""
        var context: String?
        var items: [[String: String?]] = []
        var itemNames: [String] = []
        var isOver = false
        var faultCode: String?
        var subcode: String?
        var text: String
    }

    init() {
        // 2022 gives all items at once.
        self.host = Self.host(0)
    }

    private static func host(_ index: Int) -> SimulatedHost {
        SimulatedHost(address: IPv4(value: 0x7F01_0001), profile: HostModelTests.profile(index))
    }

    private static func header(_ uri: String, size: Int = 153_600) -> WSManRequest.Header {
        WSManRequest.Header(
            to: "http://127.1.0.1:5985/wsman",
            resourceURI: uri,
            messageID: "uuid:1-2-3",
            maximumEnvelopeSize: size,
            operationTimeoutMilliseconds: 20_000
        )
    }

    private static let everything = WSManNames.allClasses(of: "root/cimv2")

    private func send(
        _ envelope: [UInt8],
        to host: SimulatedHost? = nil,
        user: String = "u",
        at time: FileTime = Self.now,
        faults: ActiveFaults = .none
    ) throws -> Answer {
        let host = host ?? self.host
        let reply = self.service.answer(
            try WSManIncoming(envelope),
            host: host,
            user: user,
            snapshot: HostSnapshot(profile: host.profile, time: time),
            faults: faults
        )
        return try Self.read(reply)
    }

    private func enumerate(
        _ query: String,
        to host: SimulatedHost? = nil,
        maximumElements: Int = 100,
        faults: ActiveFaults = .none
    ) throws -> Answer {
        let envelope = WSManRequest.enumerate(
            Self.header(Self.everything),
            wql: query,
            maximumElements: maximumElements
        )
        return try self.send(envelope, to: host, faults: faults)
    }

    private func pull(
        _ context: String,
        _ maximum: Int,
        to host: SimulatedHost? = nil,
        user: String = "u",
        at time: FileTime = Self.now
    )
        throws -> Answer
    {
        let envelope = WSManRequest.pull(Self.header(Self.everything), context: context, maximumElements: maximum)
        return try self.send(envelope, to: host, user: user, at: time)
    }

    private static func read(_ reply: WSManService.Reply) throws -> Answer {
        var answer = Answer(status: reply.status, text: String(decoding: reply.body, as: UTF8.self))
        var parser = try XMLPullParser(reply.body)
        var path: [String] = []
        while true {
            switch try parser.next() {
            case .startElement:
                path.append(parser.localName)
                switch path.joined(separator: "/") {
                case "Envelope/Header/Action": (answer.action, path) = (try parser.readText(), path.dropLast())
                case "Envelope/Header/RelatesTo": (answer.relatesTo, path) = (try parser.readText(), path.dropLast())
                case let text where text.hasSuffix("Response/EnumerationContext"):
                    (answer.context, path) = (try parser.readText(), path.dropLast())
                case let text where text.hasSuffix("Response/EndOfSequence"): answer.isOver = true
                case let text where text.hasSuffix("Fault/Code/Subcode/Value"):
                    (answer.subcode, path) = (try parser.readText(), path.dropLast())
                case "Envelope/Body/Fault/Detail/WSManFault": answer.faultCode = parser.attribute(.none, "Code")
                case let text where text.hasSuffix("Response/Items"):
                    try Self.readItems(&parser, into: &answer)
                    path.removeLast()
                default: break
                }
            case .endElement: path.removeLast()
            case .text: break
            case .endOfDocument: return answer
            }
        }
    }

    private static func readItems(_ parser: inout XMLPullParser, into answer: inout Answer) throws {
        while try parser.nextChild() {
            answer.itemNames.append(parser.localName)
            var item: [String: String?] = [:]
            while try parser.nextChild() {
                let name = parser.localName
                let isNil = parser.attribute(.schemaInstance, "nil") == "true"
                var text = ""
                let depth = parser.depth
                while true {
                    let event = try parser.next()
                    if event == .text { text += parser.text }
                    if event == .endElement, parser.depth == depth - 1 { break }
                }
                item[name] = .some(isNil ? nil : text)
            }
            answer.items.append(item)
        }
    }

    // MARK: Enumerating

    @Test func newHostsGiveEverythingAtOnce() throws {
        let answer = try self.enumerate(Self.disks)
        #expect(answer.status == 200)
        #expect(answer.action == WSManNames.enumerateResponseAction)
        #expect(answer.relatesTo == "uuid:1-2-3")
        #expect(answer.context == "")
        #expect(answer.isOver)
        #expect(answer.items.count == self.host.profile.disks.count)
        #expect(answer.itemNames.allSatisfy { $0 == "XmlFragment" })
        #expect(answer.items[0]["DeviceID"] == "C:")
        #expect(answer.items[0]["Size"] == String(self.host.profile.disks[0].size ?? 0))
        #expect(answer.items.last?["DeviceID"] == "Z:")
        #expect(answer.items.contains { $0["DeviceID"] == "Y:" && $0["Size"] == .some(nil) })
        #expect(self.host.activity.openEnumerations == 0)
    }

    @Test func hostsOf2012GiveOneItemAndTheRestByPull() throws {
        let old = Self.host(1)
        #expect(old.profile.release.answersOneItemFirst)
        let first = try self.enumerate(Self.disks, to: old)
        #expect(first.items.count == 1)
        #expect(!first.isOver)
        let context = try #require(first.context)
        #expect(context.hasPrefix("uuid:"))
        let second = try self.pull(context, 1, to: old)
        #expect(second.action == WSManNames.pullResponseAction)
        #expect(second.items.count == 1)
        #expect(second.context == context)
        #expect(!second.isOver)
        let rest = try self.pull(context, 100, to: old)
        #expect(rest.isOver)
        #expect(rest.context == nil)
        #expect(1 + 1 + rest.items.count == old.profile.disks.count)
        #expect(try self.pull(context, 1, to: old).faultCode == "2150858779")
    }

    @Test func oneInstanceIsOverAtOnceEverywhere() throws {
        let answer = try self.enumerate("SELECT Caption FROM Win32_OperatingSystem", to: Self.host(1))
        #expect(answer.isOver)
        #expect(answer.items.count == 1)
    }

    @Test func noInstanceIsAnEmptySequence() throws {
        let answer = try self.enumerate("SELECT * FROM Win32_LogicalDisk WHERE DriveType=99")
        #expect(answer.status == 200)
        #expect(answer.isOver)
        #expect(answer.items.isEmpty)
    }

    @Test func selectingAllGivesTheClassWithItsNamespace() throws {
        let answer = try self.enumerate("SELECT * FROM Win32_OperatingSystem")
        #expect(answer.itemNames == ["Win32_OperatingSystem"])
        #expect(answer.items[0].count == SystemClasses.operatingSystem.properties.count)
        #expect(answer.text.contains(#"xsi:type="p:Win32_OperatingSystem_Type""#))
        #expect(answer.text.contains("<p:LastBootUpTime><cim:Datetime>"))
        #expect(answer.text.contains(#"<p:CSDVersion xsi:nil="true"/>"#))
    }

    @Test func withoutOptimizationThereAreNoItemsYet() throws {
        let text = String(
            decoding: WSManRequest.enumerate(Self.header(Self.everything), wql: Self.disks, maximumElements: 5),
            as: UTF8.self
        ).replacing("<w:OptimizeEnumeration/>", with: "").replacing("<w:MaxElements>5</w:MaxElements>", with: "")
        let answer = try self.send(Array(text.utf8))
        #expect(answer.items.isEmpty)
        #expect(!answer.isOver)
        let context = try #require(answer.context)
        // Without MaxElements, one row for each request.
        let pull = String(
            decoding: WSManRequest.pull(Self.header(Self.everything), context: context, maximumElements: 7),
            as: UTF8.self
        ).replacing("<n:MaxElements>7</n:MaxElements>", with: "")
        #expect(try self.send(Array(pull.utf8)).items.count == 1)
    }

    @Test func aSmallEnvelopeSplitsTheAnswer() throws {
        let query = "SELECT * FROM Win32_PerfRawData_Counters_ProcessorInformation"
        var answer = try self.send(
            WSManRequest.enumerate(Self.header(Self.everything, size: 8_192), wql: query, maximumElements: 100)
        )
        #expect(!answer.isOver)
        #expect(answer.text.utf8.count <= 8_192)
        var count = answer.items.count
        while !answer.isOver {
            let context = try #require(answer.context)
            answer = try self.send(
                WSManRequest.pull(Self.header(Self.everything, size: 8_192), context: context, maximumElements: 100)
            )
            #expect(answer.text.utf8.count <= 8_192)
            #expect(answer.status == 200)
            count += answer.items.count
        }
        #expect(count == self.host.profile.coreCount + 2)
    }

    @Test func itemsOfOneEnumerationAreOfOneInstant() throws {
        let old = Self.host(1)
        let first = try self.enumerate(
            "SELECT Name, Timestamp_Sys100NS FROM Win32_PerfRawData_PerfOS_Processor",
            to: old
        )
        let context = try #require(first.context)
        let later = try self.pull(context, 1, to: old, at: Self.now.adding(seconds: 5))
        #expect(later.items[0]["Timestamp_Sys100NS"] == first.items[0]["Timestamp_Sys100NS"])
    }

    // MARK: Contexts and quotas

    @Test func contextsExpireAndBelongToTheirUser() throws {
        let old = Self.host(1)
        let context = try #require(try self.enumerate(Self.disks, to: old).context)
        #expect(try self.pull(context, 1, to: old, user: "somebody else").faultCode == "2150858779")
        let late = Self.now.adding(seconds: WSManService.enumerationTimeout + 1)
        #expect(try self.pull(context, 1, to: old, at: late).faultCode == "2150858779")
    }

    @Test func releaseEndsAnEnumeration() throws {
        let old = Self.host(1)
        let context = try #require(try self.enumerate(Self.disks, to: old).context)
        #expect(old.activity.openEnumerations == 1)
        let released = try self.send(WSManRequest.release(Self.header(Self.everything), context: context), to: old)
        #expect(released.action == WSManNames.releaseResponseAction)
        #expect(old.activity.openEnumerations == 0)
        #expect(try self.pull(context, 1, to: old).faultCode == "2150858779")
    }

    @Test func operationsBeyondTheQuotaAreRefused() throws {
        let old = Self.host(1)
        for _ in 0..<WSManService.concurrentOperations {
            #expect(try self.enumerate(Self.disks, to: old).status == 200)
        }
        let answer = try self.enumerate(Self.disks, to: old)
        #expect(answer.status == 500)
        #expect(answer.faultCode == "2150859174")
        #expect(answer.subcode == "w:QuotaLimit")
    }

    // MARK: Faults

    @Test func badQueriesFault() throws {
        let missing = try self.enumerate("SELECT * FROM Win32_Nonsense")
        #expect(missing.status == 500)
        #expect(missing.faultCode == "2150858778")
        #expect(missing.text.contains(#"Code="\#(0x8004_1010 as UInt32)""#))
        let invalid = try self.enumerate("SELECT FROM WHERE")
        #expect(invalid.faultCode == "2150858778")
        #expect(invalid.text.contains(#"Code="\#(0x8004_1017 as UInt32)""#))
        #expect(invalid.action == WSManNames.faultAction)
        #expect(invalid.relatesTo == "uuid:1-2-3")
    }

    @Test func badResourcesFault() throws {
        let other = WSManRequest.enumerate(Self.header("http://example.test/x"), wql: Self.disks, maximumElements: 1)
        #expect(try self.send(other).faultCode == "2150858752")
        let named = WSManRequest.enumerate(
            Self.header(WSManService.resourcePrefix + "Win32_LogicalDisk"),
            wql: Self.disks,
            maximumElements: 1
        )
        #expect(try self.send(named).faultCode == "2150859003")
    }

    @Test func anEnvelopeBelowTheMinimumFaults() throws {
        let text = String(
            decoding: WSManRequest.enumerate(Self.header(Self.everything), wql: Self.disks, maximumElements: 1),
            as: UTF8.self
        ).replacing(">153600<", with: ">8191<")
        let answer = try self.send(Array(text.utf8))
        #expect(answer.subcode == "w:EncodingLimit")
        #expect(answer.faultCode == "2150858878")
    }

    @Test func faultsOfTheHost() throws {
        func code(_ kind: FaultKind, _ query: String = Self.disks) throws -> String? {
            try self.enumerate(query, faults: ActiveFaults(kinds: [kind])).faultCode
        }
        #expect(try code(.accessDenied) == "5")
        #expect(try code(.quota(limit: 0)) == "2150859174")
        #expect(try code(.missingClass("win32_logicaldisk")) == "2150858778")
        #expect(try code(.missingClass("Win32_Volume")) == nil)
        #expect(try code(.providerFailure(wmiClass: nil)) == "2150858755")
        #expect(try code(.providerFailure(wmiClass: "Win32_Volume")) == nil)
    }

    @Test func identifyTellsTheVersion() throws {
        let reply = self.service.answer(
            try WSManIncoming(WSManRequest.identify()),
            host: self.host,
            user: "u",
            snapshot: HostSnapshot(profile: self.host.profile, time: Self.now),
            faults: ActiveFaults(kinds: [.accessDenied])
        )
        #expect(reply.status == 200)
        #expect(String(decoding: reply.body, as: UTF8.self).contains("OS: 10.0.20348 SP: 0.0 Stack: 3.0"))
    }

    @Test(arguments: [("PT20S", 20.0), ("PT60.000S", 60), ("PT1M30.5S", 90.5), ("P1DT1H", 90_000)])
    func durations(text: String, seconds: Double) {
        #expect(XMLDuration.seconds(text) == seconds)
    }

    @Test(arguments: ["", "20", "PT", "P20S", "PT20", "PTS", "P1M"]) func badDurations(text: String) {
        #expect(XMLDuration.seconds(text).map { $0 == 0 } ?? true)
    }
}
