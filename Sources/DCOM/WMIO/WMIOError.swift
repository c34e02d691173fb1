/// Why bytes are no CIM object, and where.
package struct WMIOError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The part of the encoding that was being read.
    package enum Section: String, Sendable {
        case encodingUnit = "EncodingUnit, [MS-WMIO] 2.2.1"
        case objectBlock = "ObjectBlock, [MS-WMIO] 2.2.5"
        case decoration = "Decoration, [MS-WMIO] 2.2.7"
        case classPart = "ClassPart, [MS-WMIO] 2.2.15"
        case derivationList = "DerivationList, [MS-WMIO] 2.2.17"
        case classQualifiers = "ClassQualifierSet, [MS-WMIO] 2.2.20"
        case propertyLookup = "PropertyLookupTable, [MS-WMIO] 2.2.21"
        case ndTable = "NdTable, [MS-WMIO] 2.2.26"
        case valueTable = "ValueTable, [MS-WMIO] 2.2.29"
        case propertyInfo = "PropertyInfo, [MS-WMIO] 2.2.30"
        case methods = "MethodsPart, [MS-WMIO] 2.2.38"
        case instance = "InstanceType, [MS-WMIO] 2.2.53"
        case instanceQualifiers = "InstanceQualifierSet, [MS-WMIO] 2.2.57"
        case heap = "Heap, [MS-WMIO] 2.2.66"
        case string = "Encoded-String, [MS-WMIO] 2.2.78"
        case array = "Encoded-Array, [MS-WMIO] 2.2.79"
        case object = "embedded object, [MS-WMIO] 2.2.71"
        case objectArray = "ObjectArray, [MS-WMI] 2.2.14"
        case packetObject = "WBEM_DATAPACKET_OBJECT, [MS-WMI] 2.2.14.1"
    }

    package enum Problem: Sendable, Equatable {
        /// A length, a count or a reference reaches past the end of the part that holds it.
        case truncated(needed: Int, available: Int)
        /// A length is less than what it includes.
        case tooShort(length: Int, minimum: Int)
        /// A field that can only have certain values has another.
        case unexpected(field: String, value: UInt32)
        case unterminatedString
        /// The value of a property's bits or bytes is outside the tables.
        case outsideTable(index: Int, count: Int)
        case unknownType(UInt32)
        /// Embedded objects hold embedded objects, deeper than allowed.
        case tooDeep(limit: Int)
        /// Decoding would take more memory than an honest object of this size needs.
        case tooLarge(limit: Int)
        /// More classes than an enumeration may bring.
        case tooManyClasses(limit: Int)
        /// An instance refers to a class that no earlier instance of the enumeration brought.
        case unknownClass
    }

    package var section: Section
    /// Bytes from the start of what was decoded.
    package var offset: Int
    package var problem: Problem

    package init(_ problem: Problem, in section: Section, at offset: Int) {
        self.problem = problem
        self.section = section
        self.offset = offset
    }

    package var description: String {
        "WMI object: \(self.section.rawValue), offset \(self.offset): \(self.problemDescription)"
    }

    private var problemDescription: String {
        switch self.problem {
        case .truncated(let needed, let available): "needs \(needed) bytes, \(available) are left"
        case .tooShort(let length, let minimum): "length \(length) is less than \(minimum)"
        case .unexpected(let field, let value): "\(field) is 0x\(String(value, radix: 16))"
        case .unterminatedString: "a string has no end"
        case .outsideTable(let index, let count): "a property is at \(index) of a table of \(count)"
        case .unknownType(let type): "unknown type 0x\(String(type, radix: 16))"
        case .tooDeep(let limit): "objects are embedded more than \(limit) deep"
        case .tooLarge(let limit): "would take more than \(limit) bytes of memory"
        case .tooManyClasses(let limit): "more than \(limit) classes in one enumeration"
        case .unknownClass: "the instance's class did not come before it"
        }
    }
}
