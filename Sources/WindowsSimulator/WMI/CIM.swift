/// The CIM types that the simulated classes use, with the numbers of [MS-WMIO] 2.2.82.
package enum CIMType: UInt16, Sendable {
    case sint16 = 2
    case sint32 = 3
    case real32 = 4
    case real64 = 5
    case string = 8
    case boolean = 11
    case sint8 = 16
    case uint8 = 17
    case uint16 = 18
    case uint32 = 19
    case sint64 = 20
    case uint64 = 21
    case datetime = 101
}

/// A value of a property.
package enum CIMValue: Sendable, Hashable {
    case null
    case boolean(Bool)
    case signed(Int64)
    case unsigned(UInt64)
    case string(String)
    /// An instant and the minutes east of UTC in which it is shown.
    case datetime(FileTime, offsetMinutes: Int)
    case array([CIMValue])

    /// An unsigned number, null for nil.
    package static func optional(_ number: UInt64?) -> Self {
        number.map { .unsigned($0) } ?? .null
    }
}

/// The same under a name that no other room has: ``WindowsSimulator`` is also a class, so the module cannot be named.
package typealias SimulatedValue = CIMValue

/// A property of a class: its name, its type and how a host's value is found.
package struct WMIProperty: Sendable {
    package var name: String
    package var type: CIMType
    package var isArray: Bool
    package var isKey: Bool
    /// The value for the instance with a given number.
    package var value: @Sendable (HostSnapshot, Int) -> CIMValue

    package init(
        _ name: String,
        _ type: CIMType,
        isArray: Bool = false,
        isKey: Bool = false,
        value: @escaping @Sendable (HostSnapshot, Int) -> CIMValue
    ) {
        self.name = name
        self.type = type
        self.isArray = isArray
        self.isKey = isKey
        self.value = value
    }

    /// A property that Windows knows and leaves empty.
    static func null(_ name: String, _ type: CIMType = .string) -> Self {
        Self(name, type) { _, _ in .null }
    }

    /// A property with the same value everywhere.
    static func constant(_ name: String, _ type: CIMType, _ value: CIMValue) -> Self {
        Self(name, type) { _, _ in value }
    }
}

/// A class of `root\cimv2`: a table of properties and how many instances a host has.
package struct WMIClass: Sendable {
    package var name: String
    package var superclass: String
    /// In the order in which `SELECT *` gives them.
    package var properties: [WMIProperty]
    /// Numbers of a host's instances start at 0.
    package var instanceCount: @Sendable (HostSnapshot) -> Int
    private var positions: [String: Int]

    init(
        _ name: String,
        superclass: String,
        properties: [WMIProperty],
        instanceCount: @escaping @Sendable (HostSnapshot) -> Int
    ) {
        self.name = name
        self.superclass = superclass
        self.properties = properties.sorted { $0.name.lowercased() < $1.name.lowercased() }
        self.instanceCount = instanceCount
        self.positions = [:]
        for (position, property) in self.properties.enumerated() {
            self.positions[property.name.lowercased()] = position
        }
    }

    /// Where a property stands in ``properties``; names compare without case.
    package func position(of name: String) -> Int? {
        self.positions[name.lowercased()]
    }
}
