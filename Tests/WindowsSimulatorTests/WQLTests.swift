import Testing

@testable import WindowsSimulator

struct WQLTests {
    private static let host = HostSnapshot(
        profile: HostModelTests.profile(0),
        time: HostModelTests.epoch.adding(seconds: 60)
    )

    private static func names(_ query: String, _ property: String = "Name") throws -> [String] {
        let plan = try WMIPlan(query)
        let position = try #require(plan.wmiClass.position(of: property))
        return plan.instances(of: Self.host).compactMap {
            if case .string(let text) = plan.wmiClass.properties[position].value(Self.host, $0) { text } else { nil }
        }
    }

    @Test func columnsAndConditions() throws {
        let query = try WQLQuery("select Name , Size from Win32_LogicalDisk where DriveType = 3 and not (Size is null)")
        #expect(query.columns == ["Name", "Size"])
        #expect(query.className == "Win32_LogicalDisk")
        #expect(try WQLQuery("SELECT * FROM Win32_Volume").columns == nil)
    }

    @Test func conditionsSelect() throws {
        #expect(try Self.names("SELECT Name FROM Win32_PerfRawData_PerfOS_Processor WHERE Name='_Total'") == ["_Total"])
        #expect(
            try Self.names("SELECT Name FROM Win32_PerfRawData_PerfOS_Processor WHERE name<>\"_total\"").contains("0")
        )
        let fixed = try Self.names("SELECT * FROM Win32_LogicalDisk WHERE DriveType=3", "DeviceID")
        #expect(fixed.first == "C:")
        #expect(!fixed.contains("Y:"))
        #expect(try Self.names("SELECT * FROM Win32_LogicalDisk WHERE Size IS NULL") == ["Y:"])
        #expect(try Self.names("SELECT * FROM Win32_LogicalDisk WHERE Size = NULL") == ["Y:"])
        #expect(try Self.names("SELECT * FROM Win32_LogicalDisk WHERE Size IS NOT NULL AND DriveType > 3") == ["Z:"])
        #expect(try Self.names("SELECT * FROM Win32_LogicalDisk WHERE 4 <= DriveType").sorted() == ["Y:", "Z:"])
        #expect(try Self.names("SELECT * FROM Win32_LogicalDisk WHERE DriveType=5 OR DriveType='4'").count == 2)
        #expect(try Self.names("SELECT * FROM Win32_LogicalDisk WHERE NOT DriveType=3").count == 2)
        #expect(try Self.names("SELECT * FROM Win32_LogicalDisk WHERE DeviceID LIKE '[X-Z]:'").count == 2)
        #expect(
            try Self.names("SELECT * FROM Win32_PerfRawData_Tcpip_NetworkInterface WHERE Name LIKE 'ISATAP%'").count
                == 1
        )
        #expect(
            try Self.names("SELECT * FROM Win32_PerfRawData_Tcpip_NetworkInterface WHERE NOT Name LIKE '%a%'")
                .allSatisfy { !$0.lowercased().contains("a") }
        )
    }

    @Test(
        arguments: [
            ("SELECT", 0x8004_1017), ("SELECT FROM Win32_Volume", 0x8004_1017), ("SELECT * FROM", 0x8004_1017),
            ("SELECT Nonsense FROM Win32_Volume", 0x8004_1017), ("SELECT * FROM Win32_Nonsense", 0x8004_1010),
            ("SELECT * FROM Win32_Process", 0x8004_1010), ("SELECT * FROM Win32_Volume WHERE", 0x8004_1017),
            ("SELECT * FROM Win32_Volume WHERE Name = 'a", 0x8004_1017),
            ("SELECT * FROM Win32_Volume WHERE (Name = 'a'", 0x8004_1017),
            ("SELECT * FROM Win32_Volume WHERE Name", 0x8004_1017), ("DELETE * FROM Win32_Volume", 0x8004_1017),
            ("SELECT * FROM Win32_Volume; DROP", 0x8004_1017), ("SELECT Name, FROM Win32_Volume", 0x8004_1017),
            ("SELECT * FROM Win32_Volume WHERE " + String(repeating: "(", count: 5_000), 0x8004_1017),
            ("SELECT * FROM Win32_Volume WHERE " + String(repeating: "NOT ", count: 4_000) + "a=1", 0x8004_1017),
        ] as [(String, UInt32)]
    )
    func badQueriesAreRefused(query: String, code: UInt32) {
        let error = #expect(throws: WQLError.self) { try WMIPlan(query) }
        #expect(error?.code == code)
    }

    @Test(arguments: [
        ("%", "", true), ("a%", "ABC", true), ("%c", "abc", true), ("a_c", "abc", true), ("a_c", "abbc", false),
        ("%b%", "abc", true), ("[a-c]x", "bx", true), ("[^a-c]x", "bx", false), ("[^a-c]x", "dx", true),
        ("", "a", false),
        ("%a%a%a%a%b", String(repeating: "a", count: 200), false), ("[", "[", true),
    ])
    func patterns(pattern: String, text: String, matches: Bool) {
        #expect(LikePattern(pattern).matches(text) == matches)
    }

    @Test func everyClassGivesEveryPropertyItsType() {
        for wmiClass in WMIRepository.classes {
            let count = wmiClass.instanceCount(Self.host)
            #expect(count > 0, "\(wmiClass.name)")
            for property in wmiClass.properties {
                for instance in 0..<count {
                    let value = property.value(Self.host, instance)
                    #expect(Self.fits(value, property), "\(wmiClass.name).\(property.name): \(value)")
                }
            }
            #expect(wmiClass.properties.contains { $0.isKey }, "\(wmiClass.name)")
        }
    }

    private static func fits(_ value: CIMValue, _ property: WMIProperty) -> Bool {
        if case .array(let elements) = value {
            return property.isArray && elements.allSatisfy { Self.fits($0, type: property.type) }
        }
        return !property.isArray && Self.fits(value, type: property.type)
    }

    private static func fits(_ value: CIMValue, type: CIMType) -> Bool {
        switch (value, type) {
        case (.null, _), (.boolean, .boolean), (.string, .string), (.datetime, .datetime): true
        case (.unsigned(let number), .uint8): number <= UInt8.max
        case (.unsigned(let number), .uint16): number <= UInt16.max
        case (.unsigned(let number), .uint32): number <= UInt32.max
        case (.unsigned, .uint64): true
        case (.signed(let number), .sint16): Int16(exactly: number) != nil
        case (.signed(let number), .sint32): Int32(exactly: number) != nil
        case (.signed, .sint64): true
        default: false
        }
    }

    @Test func oneQueryHasOneInstant() throws {
        let wmiClass = PerformanceClasses.processor
        let stamp = try #require(wmiClass.position(of: "Timestamp_Sys100NS"))
        let perf = try #require(wmiClass.position(of: "Timestamp_PerfTime"))
        let count = wmiClass.instanceCount(Self.host)
        for position in [stamp, perf] {
            let values = Set((0..<count).map { wmiClass.properties[position].value(Self.host, $0) })
            #expect(values.count == 1)
        }
    }

    @Test func theTotalIsTheMeanOfTheCores() throws {
        let cores = Self.host.profile.coreCount
        let sum = (0..<cores).reduce(0.0) { $0 + Double(Self.host.idleTicks(core: $1)) }
        #expect(abs(sum / Double(cores) - Double(Self.host.idleTicks(core: nil))) < 2)
    }
}
