import Testing
import WinRM

@Suite struct WSManTests {
    private static let header = WSManRequest.Header(
        to: "http://192.0.2.7:5985/wsman",
        resourceURI: WSManNames.allClasses(of: "root\\cimv2"),
        messageID: "uuid:00010203-0405-4607-8809-0A0B0C0D0E0F",
        maximumEnvelopeSize: 512_000,
        operationTimeoutMilliseconds: 27_050
    )

    private static func fault(_ bytes: [UInt8]) throws -> WSManFault {
        do throws(WSManReplyError) {
            _ = try WSManReply.page(bytes)
        } catch {
            if case .fault(let fault) = error { return fault }
        }
        throw WSManReplyError.unexpected("no fault")
    }

    // MARK: - Requests

    @Test func writesEnumerate() {
        let envelope = """
            <s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" \
            xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" \
            xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration" \
            xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" \
            xmlns:p="http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd">\
            <s:Header><a:To>http://192.0.2.7:5985/wsman</a:To>\
            <w:ResourceURI s:mustUnderstand="true">http://schemas.microsoft.com/wbem/wsman/1/wmi/root/cimv2/*</w:ResourceURI>\
            <a:ReplyTo><a:Address s:mustUnderstand="true">\
            http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>\
            <a:Action s:mustUnderstand="true">http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate</a:Action>\
            <w:MaxEnvelopeSize s:mustUnderstand="true">512000</w:MaxEnvelopeSize>\
            <a:MessageID>uuid:00010203-0405-4607-8809-0A0B0C0D0E0F</a:MessageID>\
            <w:Locale xml:lang="en-US" s:mustUnderstand="false"/><p:DataLocale xml:lang="en-US" s:mustUnderstand="false"/>\
            <w:OperationTimeout>PT27.050S</w:OperationTimeout></s:Header>\
            <s:Body><n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>50</w:MaxElements>\
            <w:Filter Dialect="http://schemas.microsoft.com/wbem/wsman/1/WQL">\
            SELECT Name FROM C WHERE Name&lt;&gt;'a&amp;b'</w:Filter></n:Enumerate></s:Body></s:Envelope>
            """
        let bytes = WSManRequest.enumerate(
            Self.header,
            wql: "SELECT Name FROM C WHERE Name<>'a&b'",
            maximumElements: 50
        )
        #expect(bytes.text == envelope)
    }

    @Test func writesPullAndReleaseAndIdentify() throws {
        let pull = WSManRequest.pull(Self.header, context: "uuid:1<2", maximumElements: 7).text
        #expect(pull.contains("/enumeration/Pull</a:Action>"))
        #expect(
            pull.contains(
                "<n:Pull><n:EnumerationContext>uuid:1&lt;2</n:EnumerationContext><n:MaxElements>7</n:MaxElements></n:Pull>"
            )
        )
        let release = WSManRequest.release(Self.header, context: "c").text
        #expect(release.contains("/enumeration/Release</a:Action>"))
        #expect(release.contains("<n:Release><n:EnumerationContext>c</n:EnumerationContext></n:Release>"))
        #expect(WSManRequest.identify().text.contains("<s:Header/><s:Body><i:Identify/></s:Body>"))
    }

    @Test func keepsWithinWhatHostsAccept() {
        var header = Self.header
        header.maximumEnvelopeSize = 10
        header.operationTimeoutMilliseconds = 1
        let bytes = WSManRequest.enumerate(header, wql: "q", maximumElements: 1).text
        #expect(bytes.contains(">8192</w:MaxEnvelopeSize>"))
        #expect(bytes.contains("PT0.500S"))
    }

    // MARK: - Pages

    @Test func readsAllAtOnce() throws {
        let page = try WSManReply.page(fixture("enumerate-all-at-once.xml"))
        #expect(page.isEnd)
        #expect(page.context == nil)
        #expect(page.items.map { $0["name"]?.string } == ["0", "_Total"])
        #expect(page.items[1]["TIMESTAMP_sys100ns"]?.uint64 == 133_512_345_678_901_234)
        #expect(page.items[0].className == nil)
        #expect(page.items[0].properties.map(\.name) == ["Name", "PercentProcessorTime", "Timestamp_Sys100NS"])
    }

    @Test func readsPages() throws {
        let first = try WSManReply.page(fixture("enumerate-one-item.xml"))
        #expect(!first.isEnd)
        #expect(first.items.count == 1)
        #expect(first.context == "uuid:91C2B7D4-3E5F-4A60-8B19-5D2C7E8F0A13")
        let middle = try WSManReply.page(fixture("pull-middle.xml"))
        #expect(!middle.isEnd)
        #expect(middle.items.count == 2)
        let last = try WSManReply.page(fixture("pull-last.xml"))
        #expect(last.isEnd)
        #expect(last.items[0]["bytesreceivedPERSEC"]?.uint64 == 77)
    }

    @Test func nullIsNotEmpty() throws {
        let item = try WSManReply.page(fixture("pull-middle.xml")).items[1]
        #expect(item.has("BytesReceivedPersec"))
        #expect(item["BytesReceivedPersec"] == nil)
        #expect(item.property("BytesReceivedPersec") == .some(nil))
        #expect(item["Name"] == .text(""))
        #expect(!item.has("Other"))
        #expect(item.property("Other") == nil)
    }

    @Test func readsClassesWithDatesArraysAndEmbeddedInstances() throws {
        let page = try WSManReply.page(fixture("pull-select-star.xml"))
        #expect(page.isEnd)
        #expect(page.context == nil)
        let item = try #require(page.items.first)
        #expect(item.className == "Win32_OperatingSystem")
        #expect(item["Caption"]?.string == "Microsoft Windows Server 2019 Standard")
        #expect(item.property("CSDVersion") == .some(nil))
        #expect(item["Description"] == .text(""))
        #expect(item["EndOfSequence"]?.string == "a property, not the end")
        #expect(item["LastBootUpTime"] == .dateTime("2024-02-29T06:15:30.5+01:00"))
        #expect(item["LastBootUpTime"]?.date?.microsecondsSince1970 == 1_709_183_730_500_000)
        #expect(item["MUILanguages"] == .array([.text("en-US"), .text("de-DE & ähnlich"), nil]))
        let owner = CIMInstance(properties: [
            .init(name: "Name", value: .text("Fabrikam")), .init(name: "Since", value: .dateTime("P0DT0H1M40S")),
        ])
        #expect(item["Owner"] == .instance(owner))
        #expect(item["TotalVisibleMemorySize"]?.uint64 == 8_388_148)
    }

    @Test func aPropertyNamedEndOfSequenceIsNotTheEnd() throws {
        let document = try fixture("pull-select-star.xml").text.replacing("<n:EndOfSequence/>", with: "")
        let page = try WSManReply.page(document.bytes)
        #expect(!page.isEnd)
        let foreign = try fixture("pull-last.xml").text
            .replacing("<n:EndOfSequence/>", with: "<x:EndOfSequence xmlns:x='urn:other'/>")
        #expect(try !WSManReply.page(foreign.bytes).isEnd)
    }

    @Test func boundsTheItemsOfAPage() throws {
        let bytes = try fixture("enumerate-all-at-once.xml")
        #expect(try WSManReply.page(bytes, maximumInstances: 2).items.count == 2)
        #expect(throws: WSManReplyError.tooManyInstances(limit: 1)) { try WSManReply.page(bytes, maximumInstances: 1) }
    }

    @Test(arguments: allFixtures)
    func refusesEveryTruncation(name: String) throws {
        let bytes = try fixture(name)
        let end = bytes.lastIndex(of: UInt8(ascii: ">")) ?? 0
        for length in 0..<end {
            #expect(throws: WSManReplyError.self) { try WSManReply.page(Array(bytes[..<length])) }
        }
    }

    @Test(arguments: [
        "<a/>", "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body/></s:Envelope>",
        "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'/>",
        "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'><s:Body/></s:Envelope>",
        "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'><s:Body><x/></s:Body></s:Envelope>",
    ])
    func refusesOtherDocuments(document: String) {
        #expect(throws: WSManReplyError.self) { try WSManReply.page(document.bytes) }
        #expect(throws: WSManReplyError.self) { try WSManReply.identify(document.bytes) }
    }

    @Test func readsIdentity() throws {
        let identity = try WSManReply.identify(fixture("identify.xml"))
        #expect(identity.productVendor == "Microsoft Corporation")
        #expect(identity.productVersion == "OS: 10.0.17763 SP: 0.0 Stack: 3.0")
        #expect(identity.protocolVersion == "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd")
    }

    // MARK: - Faults

    @Test func readsAccessDenied() throws {
        let fault = try Self.fault(fixture("fault-access-denied.xml"))
        #expect(fault.code == "Sender")
        #expect(fault.subcode == "AccessDenied")
        #expect(fault.windowsCodes == [.accessDenied])
        #expect(fault.machine == "srv01.fabrikam.example")
        #expect(fault.reason == "Access is denied.")
        #expect(fault.message == "Access is denied.")
        #expect(fault.kind == .accessDenied)
    }

    @Test func readsNestedProviderFaults() throws {
        let fault = try Self.fault(fixture("fault-provider.xml"))
        #expect(fault.windowsCodes == [.cannotProcessFilter, .cannotProcessFilter, .wmiInvalidClass])
        #expect(fault.provider == "WMI Provider")
        #expect(fault.message == "The filter names a class that the namespace lacks.")
        #expect(
            fault.details == [
                .init(name: "FaultDetail", text: "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/InvalidValue"),
                .init(name: "Operation", text: "ExecQuery"),
                .init(name: "ParameterInfo", text: "SELECT Name FROM Win32_NoSuchClass"),
                .init(name: "ProviderName", text: "WinMgmt"),
            ]
        )
        #expect(fault.kind == .missingClass)
    }

    @Test func readsFaultsOfWMI() throws {
        let fault = try Self.fault(fixture("fault-quota.xml"))
        #expect(fault.windowsCodes == [.quotaMaximumOperations])
        #expect(fault.message == "The operation quota of the user is used up.")
        #expect(fault.kind == .quotaExceeded)
        #expect(WinRMError.fault(fault).category == .quotaExceeded)
    }

    @Test func tellsTimeOuts() throws {
        let fault = try Self.fault(fixture("fault-timed-out.xml"))
        #expect(fault.kind == .timedOut)
        #expect(WinRMError.fault(fault).category == .timeout)
    }

    @Test func goesBySubcodeWithoutACode() {
        #expect(WSManFault(code: "Sender", subcode: "EncodingLimit").kind == .tooLarge)
        #expect(WSManFault(code: "Sender", subcode: "AccessDenied").kind == .accessDenied)
        #expect(WSManFault(code: "Receiver", subcode: "InternalError").kind == .other)
        #expect(WSManFault(code: "Sender", windowsCodes: [.quotaUser]).kind == .quotaExceeded)
    }

    @Test func boundsTexts() throws {
        let long = String(repeating: "long ", count: 10_000)
        let document = try fixture("fault-access-denied.xml").text.replacing("Access is denied. ", with: long)
        let fault = try Self.fault(document.bytes)
        #expect(fault.reason.count <= WSManFault.maximumTextLength)
        #expect((fault.message ?? "").count <= WSManFault.maximumTextLength)
    }

    // MARK: - Values

    @Test(arguments: [
        ("20240229061530.500000+060", 1_709_183_730_500_000, 60),
        ("19700101000000.000000+000", 0, 0),
        ("19691231190000.000001-300", 1, -300),
        ("2024-02-29T06:15:30.5+01:00", 1_709_183_730_500_000, 60),
        ("2024-02-29T05:15:30Z", 1_709_183_730_000_000, 0),
        ("2014-04-03T14:45:50.46875+08:00", 1_396_507_550_468_750, 480),
        ("2000-03-01T00:00:00.1234567Z", 951_868_800_123_456, 0),
        ("1601-01-01T00:00:00", -11_644_473_600_000_000, 0),
    ])
    func readsDates(text: String, microseconds: Int64, offset: Int) {
        #expect(
            CIMDateTime(text) == CIMDateTime(microsecondsSince1970: microseconds, utcOffsetMinutes: offset)
        )
    }

    @Test(arguments: [
        "", "T", "20240229061530.500000", "20240229061530.500000*060", "2024022906153*.500000+060",
        "00000001000000.000000:000", "20241329061530.500000+060", "2024-02-29", "2024-02-29T06:15:30.+01:00",
        "2024-02-29T06:15:30x", "2024-02-29T25:15:30Z", "2024-02-29T06:15:30+1:00", "2024-02-29T06:15:30Zx",
        "2024/02/29T06:15:30Z", "99999999999999999999999999999", "２024-02-29T06:15:30Z",
    ])
    func refusesOtherDates(text: String) {
        #expect(CIMDateTime(text) == nil)
    }

    @Test func convertsValues() {
        #expect(CIMValue.text("18446744073709551615").uint64 == .max)
        #expect(CIMValue.text("18446744073709551616").uint64 == nil)
        #expect(CIMValue.text("-1").uint64 == nil)
        #expect(CIMValue.text("-1").int64 == -1)
        #expect(CIMValue.text("").uint64 == nil)
        #expect(CIMValue.text("TRUE").bool == true)
        #expect(CIMValue.text("2.5").double == 2.5)
        #expect(CIMValue.array([]).string == nil)
    }
}
