import DCOM
import Testing

/// Objects that no one here encoded.
@Suite struct WMIOPublicObjectTests {
    private func decode(_ fixture: WMIOFixture) throws -> WMIObject {
        var decoder = WMIObjectDecoder()
        return try decoder.decode(fixture.bytes)
    }

    /// Names in the order of declaration.
    private func names(_ object: WMIObject) -> [String] { object.properties.map(\.name) }

    @Test func classOfTheSpecification() throws {
        let object = try self.decode(.baseClass)
        #expect(object.kind == .class)
        #expect(object.className == "Base")
        #expect(object.definition.superclasses == [])
        #expect(object.server == "DPRAVAT-DEV")
        #expect(object.namespace == "ROOT")
        #expect(self.names(object) == ["Id"])
        #expect(object.state(of: "Id") == .null)
        #expect(object.properties[0].declaration.type == .sint32)
    }

    /// The NdTable 0x47 tells apart the order of declaration from that of the lookup table: read in the latter,
    /// Array would be inherited and Id would not.
    @Test func derivedClassOfTheSpecification() throws {
        let object = try self.decode(.myClass)
        #expect(object.className == "MyClass")
        #expect(object.definition.superclasses == ["Base"])
        #expect(self.names(object) == ["Id", "Data1", "Data2", "Array"])
        #expect(object.properties.map(\.declaration.isInherited) == [true, false, false, false])
        #expect(object.state(of: "Id") == .inherited(nil))
        #expect(object.state(of: "Data1") == .null)
        #expect(object.state(of: "Data2") == .value(.string("defaultValue")))
        #expect(object.state(of: "Array") == .null)
        #expect(object.properties[3].declaration.isArray)
    }

    @Test func instanceOfTheSpecification() throws {
        let object = try self.decode(.myInstance)
        #expect(object.kind == .instance)
        #expect(object.className == "MyClass")
        #expect(object.server == "DPRAVAT-DEV")
        #expect(object["Id"] == .sint32(123))
        #expect(object["Data1"] == .string("StringField"))
        #expect(object["Data2"] == .string("defaultValue"))
        #expect(object.state(of: "Data2") == .inherited(.string("defaultValue")))
        #expect(object["Array"] == .array([.uint32(1), .uint32(2), .uint32(3)]))
        #expect(object["data1"] == object["DATA1"])
        #expect(object["Data3"] == nil)
        #expect(object.state(of: "Data3") == nil)
    }

    /// MyClass2 inherits the default of Data2: bits 10, and the value is in its own table.
    @Test func inheritedDefaultOfTheSpecification() throws {
        let object = try self.decode(.myClass2)
        #expect(object.className == "MyClass2")
        #expect(object.definition.superclasses == ["MyClass", "Base"])
        #expect(object.state(of: "Data2") == .inherited(.string("defaultValue")))
        #expect(["Id", "Data1", "Array"].allSatisfy { object.state(of: $0) == .inherited(nil) })
    }

    @Test func methodParametersOfTheSpecification() throws {
        let input = try self.decode(.parametersIn)
        #expect(input.className == "__PARAMETERS")
        #expect(input.namespace == "ROOT\\default")
        #expect(self.names(input) == ["ServiceName"])
        let output = try self.decode(.parametersOut)
        #expect(self.names(output) == ["Status", "ReturnValue"])
        #expect(output.properties.map(\.declaration.type) == [.object, .uint32])
        #expect(output.properties.allSatisfy { $0.state == .null })
    }

    /// A Windows host's answer: true zeros, and a NULL among them that is marked as inherited as well.
    @Test func instanceFromWindows() throws {
        let object = try self.decode(.utcTime)
        #expect(object.className == "Win32_UTCTime")
        #expect(object.definition.superclasses == ["Win32_CurrentTime"])
        #expect(object.server == "SEVENX64")
        #expect(object.namespace == "root\\cimv2")
        let values: [(String, UInt32)] = [
            ("Year", 2021), ("Month", 6), ("Day", 8), ("DayOfWeek", 2), ("WeekInMonth", 2), ("Quarter", 2),
            ("Hour", 0), ("Minute", 0), ("Second", 35),
        ]
        #expect(self.names(object) == values.map(\.0) + ["Milliseconds"])
        for (name, value) in values {
            #expect(object.state(of: name) == .value(.uint32(value)))
        }
        #expect(object.state(of: "Milliseconds") == .inherited(nil))
        #expect(object["Milliseconds"] == nil)
    }

    /// The class part as Windows sends it, 501 zeros after its heap's last item included.
    @Test func methodParametersFromWindows() throws {
        let object = try self.decode(.processParameters)
        #expect(object.className == "__PARAMETERS")
        #expect(object.server == nil)
        #expect(self.names(object) == ["CommandLine", "CurrentDirectory", "ProcessStartupInformation"])
        #expect(object["CommandLine"] == .string("ipconfig"))
        #expect(object.state(of: "CurrentDirectory") == .inherited(nil))
        #expect(object.state(of: "ProcessStartupInformation") == .inherited(nil))
    }

    /// Here impacket says that every value is present, zeros and a reference to an empty string.
    @Test func instanceFromImpacket() throws {
        let object = try self.decode(.intervalTimer)
        #expect(object.className == "__IntervalTimerInstruction")
        #expect(
            object.definition.superclasses
                == ["__TimerInstruction", "__EventGenerator", "__IndicationRelated", "__SystemClass"]
        )
        #expect(object["TimerId"] == .string(""))
        #expect(object["SkipIfPassed"] == .boolean(false))
        #expect(object["IntervalBetweenEvents"] == .uint32(0))
    }

    /// And here that an array is where the class's name is.
    @Test(arguments: WMIOFixture.allCases.filter { !$0.isValid })
    func invalidInstanceFromImpacket(_ fixture: WMIOFixture) {
        let error = #expect(throws: WMIOError.self) { _ = try self.decode(fixture) }
        #expect(error?.section == .array)
    }

    /// The class parts of those are Windows'. With an instance that inherits everything, the classes' defaults show.
    @Test func defaultsOfClassesFromWindows() throws {
        let script = try self.inheritingEverything(.activeScript)
        let localSystem: [UInt8] = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0]
        #expect(script["CreatorSID"] == .array(CIMArray(localSystem.map { .uint8($0) })))
        #expect(script["KillTimeout"] == .uint32(0))
        #expect(
            self.names(script) == [
                "MachineName", "MaximumQueueSize", "CreatorSID", "Name", "ScriptingEngine", "ScriptText",
                "ScriptFilename", "KillTimeout",
            ]
        )
        #expect(script.properties.filter { $0.value != nil }.count == 2)

        let filter = try self.inheritingEverything(.eventFilter)
        #expect(filter["CreatorSID"] == .array(CIMArray(localSystem.map { .uint8($0) })))
        #expect(filter.properties.filter { $0.value != nil }.count == 1)

        let binding = try self.inheritingEverything(.filterToConsumer)
        #expect(binding.properties.map(\.declaration.type).filter { $0 == .reference }.count == 2)
        #expect(binding["DeliverSynchronously"] == .boolean(false))
        #expect(binding["CreatorSID"] == .array(CIMArray(localSystem.map { .uint8($0) })))
        #expect(binding["DeliveryQoS"] == nil)
    }

    private func inheritingEverything(_ fixture: WMIOFixture) throws -> WMIObject {
        var bytes = fixture.bytes
        let reader = WMIOTestLayout(bytes)
        for index in reader.ndTable { bytes[index] = 0b1010_1010 }
        var decoder = WMIObjectDecoder()
        return try decoder.decode(bytes)
    }
}
