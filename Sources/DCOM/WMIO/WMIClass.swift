/// A property as its class declares it, [MS-WMIO] 2.2.30.
package struct WMIPropertyDeclaration: Sendable, Equatable {
    package let name: String
    /// The type of the value, or of an array's elements.
    package let type: CIMType
    package let isArray: Bool
    /// Whether a superclass declares it.
    package let isInherited: Bool
    /// DeclarationOrder: the place among the class's properties, and of the bits in an NdTable.
    package let order: Int
    /// Where the value is in a ValueTable.
    let valueOffset: Int
    /// The class's default value; nil when that is NULL.
    package let defaultValue: CIMValue?
    /// Whether the default comes from a superclass.
    package let defaultIsInherited: Bool
}

/// A class, or the class part that comes with an instance, decoded once for all instances that have it.
package final class WMIClass: Sendable, Equatable {
    /// nil when the class part names no class.
    package let name: String?
    /// The superclasses, the immediate one first.
    package let superclasses: [String]
    /// In the order of declaration.
    package let properties: [WMIPropertyDeclaration]
    /// The length of the NdTable and the ValueTable of the class and of each instance.
    let tableLength: Int

    var ndTableLength: Int { WMIOFormat.ndTableLength(propertyCount: self.properties.count) }

    init(name: String?, superclasses: [String], properties: [WMIPropertyDeclaration], tableLength: Int) {
        self.name = name
        self.superclasses = superclasses
        self.properties = properties
        self.tableLength = tableLength
    }

    package static func == (left: WMIClass, right: WMIClass) -> Bool {
        left === right
            || (left.name == right.name && left.superclasses == right.superclasses
                && left.properties == right.properties && left.tableLength == right.tableLength)
    }

    /// The place of a property, whatever the case of its name.
    func index(of name: String) -> Int? {
        self.properties.firstIndex { Self.isSameName($0.name, name) }
    }

    /// Names are ASCII and compare without case ([DSP0004] 4.7).
    private static func isSameName(_ left: String, _ right: String) -> Bool {
        let left = left.utf8
        let right = right.utf8
        return left.count == right.count && zip(left, right).allSatisfy { Self.lowercased($0) == Self.lowercased($1) }
    }

    private static func lowercased(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
    }
}
