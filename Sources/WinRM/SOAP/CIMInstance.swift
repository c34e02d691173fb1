/// One row of a WMI enumeration: its properties in the order in which they came.
package struct CIMInstance: Sendable, Hashable {
    /// A property with its name as the host wrote it.
    package struct Property: Sendable, Hashable {
        package var name: String
        /// nil is `xsi:nil`, which is not the same as an empty text.
        package var value: CIMValue?

        package init(name: String, value: CIMValue?) {
            self.name = name
            self.value = value
        }
    }

    /// The class if the item said it, nil for the columns of a `SELECT a, b`.
    package var className: String?
    package var properties: [Property]

    package init(className: String? = nil, properties: [Property]) {
        self.className = className
        self.properties = properties
    }

    /// A property by its name without regard to case: hosts differ in `PerSec` and `Persec`.
    ///
    /// - Returns: nil if there is no such property, `.some(nil)` if it is there and null.
    package func property(_ name: String) -> CIMValue?? {
        for property in self.properties where property.name.equalsIgnoringASCIICase(name) {
            return .some(property.value)
        }
        return nil
    }

    /// Whether the property is there, be it null.
    package func has(_ name: String) -> Bool {
        self.property(name) != nil
    }

    /// A property's value; nil if it is missing or null.
    package subscript(_ name: String) -> CIMValue? {
        self.property(name) ?? nil
    }
}

/// A property's value. The wire is untyped text, so the reader asks for the type that the class declares.
package indirect enum CIMValue: Sendable, Hashable {
    /// Text of any simple type.
    case text(String)
    /// The text inside `<cim:Datetime>` or its kin.
    case dateTime(String)
    /// A property that occurred several times, which is how arrays travel ([DSP0230] 7.2.2).
    case array([CIMValue?])
    /// An embedded instance.
    case instance(CIMInstance)

    /// The text of a simple value or of a date.
    package var string: String? {
        switch self {
        case .text(let text), .dateTime(let text): text
        case .array, .instance: nil
        }
    }

    /// An unsigned integer, nil if it is not one or does not fit.
    package var uint64: UInt64? { self.string.flatMap { UInt64($0) } }

    /// A signed integer, nil if it is not one or does not fit.
    package var int64: Int64? { self.string.flatMap { Int64($0) } }

    /// A number, nil if it is not one.
    package var double: Double? { self.string.flatMap { Double($0) } }

    /// `true`, `false`, `1` or `0` in any case.
    package var bool: Bool? {
        switch self.string?.lowercased() {
        case "true", "1": true
        case "false", "0": false
        default: nil
        }
    }

    /// A point in time, from `CIM_DATETIME` text or `xs:dateTime`.
    package var date: CIMDateTime? { self.string.flatMap { CIMDateTime($0) } }
}

extension String {
    /// Compares names of CIM, which are ASCII in all classes of Windows.
    func equalsIgnoringASCIICase(_ other: String) -> Bool {
        // The same name nearly always, or another first letter.
        if self == other { return true }
        guard self.utf8.count == other.utf8.count else { return false }
        return zip(self.utf8, other.utf8).allSatisfy { left, right in
            left == right || (left | 0x20 == right | 0x20 && (0x61...0x7A).contains(left | 0x20))
        }
    }
}
