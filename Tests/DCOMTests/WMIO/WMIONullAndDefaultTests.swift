import DCOM
import Testing

/// NULL, missing, inherited and zero are four things ([MS-WMIO] 2.2.26 and 2.2.27).
@Suite struct WMIONullAndDefaultTests {
    private let uint32 = CIMType.uint32.rawValue
    private let string = CIMType.string.rawValue

    private func decode(_ builder: WMIOBuilder) throws -> WMIObject {
        var decoder = WMIObjectDecoder()
        return try decoder.decode(WMIOBuilder.unit(builder.instanceBlock))
    }

    @Test func zeroIsAValue() throws {
        var builder = WMIOBuilder()
        builder.properties = [.init(name: "Zero", type: self.uint32, slot: le(UInt32(0)))]
        let object = try self.decode(builder)
        #expect(object.state(of: "Zero") == .value(.uint32(0)))
    }

    @Test func allBitsSetIsAValueOfNumbers() throws {
        var builder = WMIOBuilder()
        builder.properties = [.init(name: "Maximum", type: self.uint32, slot: le(UInt32.max))]
        #expect(try self.decode(builder)["Maximum"] == .uint32(.max))
    }

    @Test func nullBitWinsOverTheSlot() throws {
        var builder = WMIOBuilder()
        builder.properties = [.init(name: "Null", type: self.uint32, flags: 0b01, slot: le(UInt32(7)))]
        let object = try self.decode(builder)
        #expect(object.state(of: "Null") == .null)
        #expect(object["Null"] == nil)
    }

    @Test func inheritedBitTakesTheClassesDefault() throws {
        var builder = WMIOBuilder()
        builder.properties = [
            .init(
                name: "A",
                type: self.uint32,
                classFlags: 0b00,
                classSlot: le(UInt32(5)),
                flags: 0b10,
                slot: le(UInt32(7))
            ),
            .init(
                name: "B",
                type: self.uint32,
                classFlags: 0b10,
                classSlot: le(UInt32(6)),
                flags: 0b10,
                slot: le(UInt32(7))
            ),
            .init(
                name: "C",
                type: self.uint32,
                classFlags: 0b01,
                classSlot: le(UInt32(8)),
                flags: 0b10,
                slot: le(UInt32(7))
            ),
            .init(
                name: "D",
                type: self.uint32,
                classFlags: 0b11,
                classSlot: le(UInt32(9)),
                flags: 0b10,
                slot: le(UInt32(7))
            ),
        ]
        let object = try self.decode(builder)
        #expect(object.state(of: "A") == .inherited(.uint32(5)))
        #expect(object.state(of: "B") == .inherited(.uint32(6)))
        #expect(object.state(of: "C") == .inherited(nil))
        #expect(object.state(of: "D") == .inherited(nil))
    }

    /// The specification: NULL, inherited. Windows sends it for what a provider did not set.
    @Test func bothBitsAreNull() throws {
        var builder = WMIOBuilder()
        builder.properties = [
            .init(name: "A", type: self.uint32, classFlags: 0b00, classSlot: le(UInt32(5)), flags: 0b11)
        ]
        #expect(try self.decode(builder).state(of: "A") == .inherited(nil))
    }

    /// The class's default is in the class's heap, an instance's value in the instance's.
    @Test func eachPartHasItsOwnHeap() throws {
        var builder = WMIOBuilder()
        let inClass = builder.classHeap.string("of the class")
        let inInstance = builder.heap.string("of the instance")
        #expect(inClass == inInstance)
        builder.properties = [
            .init(name: "Own", type: self.string, classFlags: 0b00, classSlot: le(inClass), slot: le(inInstance)),
            .init(name: "Default", type: self.string, classFlags: 0b00, classSlot: le(inClass), flags: 0b10),
        ]
        let object = try self.decode(builder)
        #expect(object["Own"] == .string("of the instance"))
        #expect(object["Default"] == .string("of the class"))
    }

    /// Names sorted, as in the lookup table, are the reverse of the order of declaration here.
    @Test(arguments: 1...17)
    func bitsAreInTheOrderOfDeclaration(_ count: Int) throws {
        var builder = WMIOBuilder()
        let names = (0..<count).map { "P\(99 - $0)" }
        builder.properties = names.enumerated().map { index, name in
            .init(name: name, type: self.uint32, flags: index % 3 == 0 ? 0b01 : 0, slot: le(UInt32(index)))
        }
        let object = try self.decode(builder)
        #expect(object.properties.map(\.name) == names)
        for (index, name) in names.enumerated() {
            #expect(object.state(of: name) == (index % 3 == 0 ? .null : .value(.uint32(UInt32(index)))))
        }
    }

    @Test func referenceToNothingIsNull() throws {
        var builder = WMIOBuilder()
        let types: [CIMType] = [.string, .datetime, .reference, .object]
        builder.properties = types.map {
            .init(name: "\($0)", type: $0.rawValue, slot: le(WMIOFormat.nullReference))
        }
        builder.properties.append(
            .init(name: "array", type: self.uint32 | WMIOFormat.arrayFlag, slot: le(WMIOFormat.nullReference))
        )
        let object = try self.decode(builder)
        #expect(object.properties.count == 5)
        #expect(object.properties.allSatisfy { $0.state == .null })
    }

    @Test func emptyStringIsNotNull() throws {
        var builder = WMIOBuilder()
        let empty = builder.heap.string("")
        builder.properties = [
            .init(name: "Written", type: self.string, slot: le(empty)),
            .init(name: "Dictionary", type: self.string, slot: le(WMIOFormat.dictionaryFlag | 2)),
        ]
        let object = try self.decode(builder)
        #expect(object["Written"] == .string(""))
        #expect(object["Dictionary"] == .string(""))
    }

    @Test func missingIsNotNull() throws {
        var builder = WMIOBuilder()
        builder.properties = [.init(name: "Here", type: self.uint32, flags: 0b01)]
        let object = try self.decode(builder)
        #expect(object["Here"] == nil)
        #expect(object["Gone"] == nil)
        #expect(object.state(of: "Here") == .null)
        #expect(object.state(of: "Gone") == nil)
    }

    @Test func objectWithoutProperties() throws {
        var builder = WMIOBuilder()
        builder.superclasses = ["A", "B"]
        let object = try self.decode(builder)
        #expect(object.properties.isEmpty)
        #expect(object.definition.superclasses == ["A", "B"])
    }

    /// A class part need not name the class; then the instance does.
    @Test func nameOfTheInstance() throws {
        var builder = WMIOBuilder(className: nil)
        builder.properties = [.init(name: "A", type: self.uint32, slot: le(UInt32(1)))]
        var bytes = WMIOBuilder.unit(builder.instanceBlock)
        var decoder = WMIObjectDecoder()
        #expect(try decoder.decode(bytes).className == "")
        // The instance's InstanceClassName: to the dictionary's "provider".
        let layout = WMIOTestLayout(bytes)
        bytes.replaceSubrange(layout.ndTable.lowerBound - 4..<layout.ndTable.lowerBound, with: le(UInt32(0x8000_0006)))
        #expect(try decoder.decode(bytes).className == "provider")
    }
}
