import DCOM
import Testing

@testable import WindowsSimulator

/// The encoder of [MS-WMIO] against Microsoft's own example, and against the decoder of another room.
struct DCOMEncodingTests {
    private typealias Property = WMIOClass.Property
    private typealias Qualifier = WMIOClass.Qualifier

    /// The class of the example in [MS-WMIO] section 3.
    private static let myClass = WMIOClass(
        name: "MyClass",
        superclasses: ["Base"],
        qualifiers: [Qualifier(name: "Description", value: .string("MyClass Example"))],
        properties: [
            Property(
                name: "Id",
                type: .sint32,
                origin: 0,
                qualifiers: [
                    Qualifier(
                        name: "key",
                        value: .boolean(true),
                        flavor: [.propagateToInstance, .propagateToDerivedClass, .notOverridable]
                    )
                ]
            ),
            Property(
                name: "Data1",
                type: .string,
                origin: 1,
                qualifiers: [
                    Qualifier(name: "read", value: .boolean(true)), Qualifier(name: "write", value: .boolean(true)),
                ]
            ),
            Property(name: "Data2", type: .string, origin: 1, defaultValue: .string("defaultValue")),
            Property(name: "Array", type: .uint32, isArray: true, origin: 1),
        ]
    )

    /// The ClassPart of that example, without the six bytes of garbage at its end (so that the lengths are six less).
    private static let specifiedClassPart = """
        70010000 00 00000000 11000000 0e000000 004261736500 06000000 11000000 09000000 00 08000000 16000000 04000000
        27000000 2e000000 55000000 5c000000 99000000 a0000000 c7000000 cb000000 47 ffffffff ffffffff fd000000 ffffffff
        0b010080 004d79436c61737300 004465736372697074696f6e00 004d79436c617373204578616d706c6500 00417272617900
        13200000 0300 0c000000 01000000 11000000 0a000080 03 08000000 4d000000 0075696e74333200 00446174613100
        08000000 0100 04000000 01000000 27000000 0a000080 03 08000000 91000000 03000080 00 0b000000 ffff
        04000080 00 0b000000 ffff 00737472696e6700 00446174613200
        08000000 0200 08000000 01000000 11000000 0a000080 03 08000000 bf000000 00737472696e6700 00496400
        03400000 0000 00000000 00000000 1c000000 0a000080 23 08000000 f5000000 01000080 33 0b000000 ffff
        0073696e74333200 0064656661756c7456616c756500
        """

    private static func bytes(_ hex: String) -> [UInt8] {
        let digits = hex.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    @Test func theSpecificationsClass() {
        #expect(Self.myClass.encodedPart() == Self.bytes(Self.specifiedClassPart))
    }

    @Test func theSpecificationsInstance() {
        let instance = WMIOInstance(
            wmiClass: Self.myClass,
            origin: WMIOInstance.Origin(server: "DPRAVAT-DEV", namespace: "ROOT"),
            values: [
                .signed(123), .string("StringField"), .string("defaultValue"),
                .array([.unsigned(1), .unsigned(2), .unsigned(3)]),
            ]
        )
        let classPart = Self.myClass.encodedPart()
        // As in 3.1, but for the order of the heap's items, which is free: the text lies before the array here.
        let part = Self.bytes(
            """
            49000000 00 00000000 20 7b000000 09000000 00000000 16000000 04000000 01 26000080 004d79436c61737300
            00537472696e674669656c6400 03000000 01000000 02000000 03000000
            """
        )
        let decoration = Self.bytes("06 0044505241564154 2d44455600 00524f4f5400")
        #expect(instance.objectBlockWithoutClass == decoration + part)
        #expect(instance.objectBlock(classPart: classPart) == decoration + classPart + part)
        let unit = instance.encodingUnit(classPart: classPart)
        #expect(Array(unit[..<8]) == Self.bytes("78563412 cd010000"))
        #expect(unit.count == 8 + 0x1CD)
    }

    @Test func garbageIsCountedIn() {
        let plain = Self.myClass.encodedPart()
        let padded = Self.myClass.encodedPart(slack: 6, garbage: 2)
        #expect(padded.count == plain.count + 8)
        #expect(Array(padded[..<4]) == Self.bytes("78010000"))
        // Six more in the heap, as in the specification's example: 0x111.
        #expect(padded[0x61...].starts(with: Self.bytes("11010080")))
    }

    @Test func superclassesCanBeLeftOut() {
        var wmiClass = Self.myClass
        wmiClass.showsSuperclasses = false
        let part = wmiClass.encodedPart()
        #expect(part[13...].starts(with: Self.bytes("04000000 11000000")))
        #expect(part.count == Self.myClass.encodedPart().count - 10)
    }

    @Test func textsAreCompressedWhereTheyCanBe() {
        #expect(WMIOHeap.encode("é") == [0, 0xE9, 0])
        #expect(WMIOHeap.encode("€a") == [1, 0xAC, 0x20, 0x61, 0, 0, 0])
        #expect(WMIOHeap.encode("") == [0, 0])
    }

    @Test func ndTablesHaveFourPropertiesInAnOctet() {
        var flags = WMIONullFlags(count: 5)
        #expect(flags.bytes == [0, 0])
        flags[2] = WMIONullFlags.Bits(isNull: false, isInherited: true)
        flags[4] = WMIONullFlags.Bits(isNull: true, isInherited: true)
        #expect(flags.bytes == [0x20, 0x03])
        #expect(flags[2] == WMIONullFlags.Bits(isNull: false, isInherited: true))
        flags[2] = WMIONullFlags.Bits(isNull: true, isInherited: false)
        #expect(flags.bytes == [0x10, 0x03])
        var ones = WMIONullFlags(count: 2, unused: 0xFF)
        ones[0] = WMIONullFlags.Bits(isNull: false, isInherited: false)
        #expect(ones.bytes == [0xFC])
        #expect(WMIONullFlags(count: 0).bytes.isEmpty)
    }

    // MARK: Every class, with the decoder that clients use

    private static let fleet = HostProfile.Fleet(seed: 4)
    private static let quirks = [
        DCOMPlan.Quirks(), DCOMPlan.Quirks(inheritsDefaults: true),
        DCOMPlan.Quirks(leavesGarbage: true, hidesSuperclasses: true),
    ]

    /// Whether a decoded property is what the simulator knows it to be.
    private static func isSame(_ object: WMIObject, _ name: String, _ value: SimulatedValue) -> Bool {
        let found = object[name]
        switch value {
        case .null: return found == nil
        case .boolean(let flag): return found?.bool == flag
        case .unsigned(let number): return found?.uint64 == number
        case .string(let text): return found?.string == text
        case .datetime(let time, let offset):
            return found?.string == TimeText.cimDateTime(time, offsetMinutes: offset)
        case .signed(let number): return found.map { "\($0)".hasSuffix("(\(number))") } ?? false
        case .array(let elements):
            let texts: [String?] = elements.map { if case .string(let text) = $0 { text } else { nil } }
            return found?.array.map { $0.map { $0?.string } == texts } ?? false
        }
    }

    @Test(arguments: WMIRepository.classes.map(\.name), quirks)
    func everyClassIsDecodedAsItIs(name: String, quirks: DCOMPlan.Quirks) throws {
        for index in [1, 2, 3, 6] {
            let profile = HostProfile(index: index, fleet: Self.fleet)
            let host = HostSnapshot(profile: profile, time: Self.fleet.epoch.adding(seconds: 1_000_000))
            let plan = DCOMPlan(try WMIPlan("SELECT * FROM \(name)"), quirks: quirks)
            var decoder = WMIObjectDecoder()
            for row in plan.plan.instances(of: host) {
                let unit = plan.instance(row, host: host).encodingUnit(classPart: plan.classPart)
                let object = try decoder.decode(unit)
                #expect(object.className == name)
                #expect(object.server == profile.computerName)
                #expect(object.namespace == #"ROOT\CIMV2"#)
                for property in plan.plan.wmiClass.properties {
                    let value = property.value(host, row)
                    #expect(Self.isSame(object, property.name, value), "\(name).\(property.name): \(value)")
                }
            }
        }
    }

    @Test func defaultsAreInheritedOnHostsThatHaveThem() throws {
        let host = HostSnapshot(
            profile: HostProfile(index: 3, fleet: Self.fleet),
            time: Self.fleet.epoch.adding(seconds: 9)
        )
        let text = "SELECT DeviceID, DriveType FROM Win32_LogicalDisk WHERE DriveType = 3"
        let plan = DCOMPlan(try WMIPlan(text), quirks: DCOMPlan.Quirks(inheritsDefaults: true))
        let instance = plan.instance(0, host: host)
        // DeviceID is declared by CIM_LogicalDevice, DriveType by the class: 10 means inherited and not null.
        #expect(plan.wmiClass.properties.map(\.name) == ["DeviceID", "DriveType"])
        let start = instance.objectBlockWithoutClass.count - 4 - 1 - 4 - (1 + 17 + 1 + 1 + 2 + 1) - 8 - 1
        #expect(instance.objectBlockWithoutClass[start] == 0b1000)
        #expect(Array(instance.objectBlockWithoutClass[(start + 5)..<(start + 9)]) == [0, 0, 0, 0])
        var decoder = WMIObjectDecoder()
        #expect(try decoder.decode(instance.encodingUnit(classPart: plan.classPart))["DriveType"]?.uint64 == 3)
    }

    @Test func anObjectArraySendsEachClassOnce() throws {
        let host = HostSnapshot(
            profile: HostProfile(index: 0, fleet: Self.fleet),
            time: Self.fleet.epoch.adding(seconds: 9)
        )
        let plan = DCOMPlan(try WMIPlan("SELECT Name FROM Win32_LogicalDisk"), quirks: DCOMPlan.Quirks())
        let id: GUID = "00112233-4455-6677-8899-aabbccddeeff"
        let first = plan.instance(0, host: host)
        let second = plan.instance(1, host: host)
        let array = WMIObjectArray([
            .instance(id, first.objectBlock(classPart: plan.classPart)),
            .instanceWithoutClass(id, second.objectBlockWithoutClass),
        ]).encoded
        #expect(Array(array[..<12]) == [0, 0, 0, 0] + Array("WBEMDATA".utf8))
        var decoder = WMIObjectDecoder()
        decoder.beginEnumeration()
        let names = try decoder.decode(objectArray: array[...]).map { $0["Name"]?.string }
        #expect(names == host.profile.disks[..<2].map(\.letter))
    }
}
