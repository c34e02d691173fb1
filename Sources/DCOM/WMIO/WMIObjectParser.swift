/// Parses one object with all that is embedded in it.
struct WMIObjectParser {
    var cache: WMIClassCache
    var allowance: WMIOAllowance
    let maximumDepth: Int
    private var depth = 0

    init(cache: WMIClassCache, allowance: WMIOAllowance, maximumDepth: Int) {
        self.cache = cache
        self.allowance = allowance
        self.maximumDepth = maximumDepth
    }

    /// An ObjectBlock ([MS-WMIO] 2.2.5), or with a class an EncodingUnitInstanceNoClass (2.2.3).
    mutating func objectBlock(_ block: WMIOReader, of knownClass: WMIClass? = nil) throws(WMIOError) -> WMIObject {
        var reader = block
        let flags = try reader.uint8(.objectBlock)
        let kinds = WMIOFormat.classFlag | WMIOFormat.instanceFlag
        let isClass = flags & kinds == WMIOFormat.classFlag
        guard isClass && knownClass == nil || flags & kinds == WMIOFormat.instanceFlag else {
            throw block.error(.unexpected(field: "ObjectFlags", value: UInt32(flags)), in: .objectBlock)
        }
        var server: String?
        var namespace: String?
        if flags & WMIOFormat.decorationFlag != 0 {
            server = try reader.string(&self.allowance)
            namespace = try reader.string(&self.allowance)
        }
        if isClass {
            // The superclass comes first; what it declares is repeated in the class.
            _ = try reader.block(.classPart, minimumLength: WMIOFormat.classHeaderLength)
            _ = try reader.block(.methods)
            let definition = try self.classPart(&reader)
            return WMIObject(
                kind: .class,
                className: definition.name ?? "",
                definition: definition,
                server: server,
                namespace: namespace,
                states: definition.properties.map {
                    if $0.defaultIsInherited {
                        .inherited($0.defaultValue)
                    } else {
                        $0.defaultValue.map { .value($0) } ?? .null
                    }
                }
            )
        }
        let definition = if let knownClass { knownClass } else { try self.classPart(&reader) }
        let (className, states) = try self.instance(&reader, of: definition)
        return WMIObject(
            kind: .instance,
            className: className,
            definition: definition,
            server: server,
            namespace: namespace,
            states: states
        )
    }

    // MARK: Classes

    /// A ClassPart, [MS-WMIO] 2.2.15: from the cache, or decoded and remembered.
    private mutating func classPart(_ reader: inout WMIOReader) throws(WMIOError) -> WMIClass {
        let start = reader.position
        let part = try reader.block(.classPart, minimumLength: WMIOFormat.classHeaderLength)
        let bytes = reader.bytes[start..<reader.position]
        if let known = self.cache.definition(of: bytes) { return known }
        let definition = try self.classPart(part)
        self.cache.remember(definition, bytes: bytes)
        return definition
    }

    private mutating func classPart(_ part: WMIOReader) throws(WMIOError) -> WMIClass {
        var reader = part
        try reader.skip(1, .classPart)
        let nameReference = try reader.uint32(.classPart)
        let tableLength = Int(try reader.uint32(.classPart))
        let superclasses = try self.derivation(try reader.block(.derivationList))
        _ = try reader.block(.classQualifiers)
        let propertyCount = Int(try reader.uint32(.propertyLookup))
        let lookup = try reader.take(propertyCount * WMIOFormat.propertyLookupLength, .propertyLookup)
        let tables = WMIOTables(
            try reader.take(tableLength, .ndTable),
            propertyCount: propertyCount,
            base: reader.base
        )
        let heap = try WMIOHeap(&reader)
        let name = try heap.string(nameReference, &self.allowance)
        try self.allowance.charge(propertyCount * MemoryLayout<WMIPropertyDeclaration>.stride, part)
        var lookupReader = WMIOReader(lookup, base: part.base)
        var properties: [WMIPropertyDeclaration] = []
        properties.reserveCapacity(propertyCount)
        for _ in 0..<propertyCount {
            properties.append(try self.property(&lookupReader, tables: tables, heap: heap))
        }
        properties.sort { $0.order < $1.order }
        // Each has bits of its own in the NdTable, so none shares its place ([MS-WMIO] 2.2.26).
        for (property, next) in zip(properties, properties.dropFirst()) where property.order == next.order {
            throw part.error(.unexpected(field: "DeclarationOrder", value: UInt32(next.order)), in: .propertyInfo)
        }
        return WMIClass(name: name, superclasses: superclasses, properties: properties, tableLength: tableLength)
    }

    /// The names in a DerivationList, each followed by its length, [MS-WMIO] 2.2.18.
    private mutating func derivation(_ list: WMIOReader) throws(WMIOError) -> [String] {
        var reader = list
        var names: [String] = []
        while reader.remaining > 0 {
            try self.allowance.charge(MemoryLayout<String>.stride, reader)
            names.append(try reader.string(&self.allowance))
            try reader.skip(4, .derivationList)
        }
        return names
    }

    /// A PropertyLookup and the PropertyInfo that it points to, [MS-WMIO] 2.2.23 and 2.2.30.
    private mutating func property(
        _ lookup: inout WMIOReader,
        tables: WMIOTables,
        heap: WMIOHeap
    ) throws(WMIOError) -> WMIPropertyDeclaration {
        let nameReference = try lookup.uint32(.propertyLookup)
        let infoReference = try lookup.uint32(.propertyLookup)
        let name = try heap.string(nameReference, &self.allowance) ?? ""
        let start = try heap.item(infoReference, .propertyInfo)
        var info = start
        let encodedType = try info.uint32(.propertyInfo) & WMIOFormat.typeMask
        let order = Int(try info.uint16(.propertyInfo))
        let offset = Int(try info.uint32(.propertyInfo))
        guard let type = CIMType(rawValue: encodedType & ~(WMIOFormat.arrayFlag | WMIOFormat.inheritedFlag)) else {
            throw start.error(.unknownType(encodedType), in: .propertyInfo)
        }
        let isArray = encodedType & WMIOFormat.arrayFlag != 0
        let flags = try tables.flags(order: order)
        let value = try self.value(at: offset, type, isArray: isArray, isNull: flags.isNull, tables: tables, heap: heap)
        return WMIPropertyDeclaration(
            name: name,
            type: type,
            isArray: isArray,
            isInherited: encodedType & WMIOFormat.inheritedFlag != 0,
            order: order,
            valueOffset: offset,
            // An inherited default is written into the class's own table again.
            defaultValue: value,
            defaultIsInherited: flags.isInherited
        )
    }

    // MARK: Instances

    /// What follows the class part of an InstanceType, [MS-WMIO] 2.2.53: the class's name and the values.
    private mutating func instance(
        _ reader: inout WMIOReader,
        of definition: WMIClass
    ) throws(WMIOError) -> (className: String, states: [WMIObject.State]) {
        var reader = try reader.block(.instance)
        let start = reader
        try reader.skip(1, .instance)
        let nameReference = try reader.uint32(.instance)
        let propertyCount = definition.properties.count
        let tables = WMIOTables(
            try reader.take(definition.tableLength, .ndTable),
            propertyCount: propertyCount,
            base: reader.base
        )
        _ = try reader.block(.instanceQualifiers)
        let qualifiers = try reader.uint8(.instanceQualifiers)
        switch qualifiers {
        case WMIOFormat.noPropertyQualifiers: break
        case WMIOFormat.propertyQualifiers:
            for _ in 0..<propertyCount { _ = try reader.block(.instanceQualifiers) }
        default:
            throw reader.error(
                .unexpected(field: "InstPropQualSetFlag", value: UInt32(qualifiers)),
                in: .instanceQualifiers
            )
        }
        let heap = try WMIOHeap(&reader)
        try self.allowance.charge(propertyCount * MemoryLayout<WMIObject.State>.stride, start)
        var states: [WMIObject.State] = []
        states.reserveCapacity(propertyCount)
        for property in definition.properties {
            let flags = try tables.flags(order: property.order)
            if flags.isNull {
                states.append(flags.isInherited ? .inherited(nil) : .null)
            } else if flags.isInherited {
                states.append(.inherited(property.defaultValue))
            } else {
                let value = try self.value(
                    at: property.valueOffset,
                    property.type,
                    isArray: property.isArray,
                    isNull: false,
                    tables: tables,
                    heap: heap
                )
                states.append(value.map { .value($0) } ?? .null)
            }
        }
        if let name = definition.name { return (name, states) }
        return (try heap.string(nameReference, &self.allowance) ?? "", states)
    }

    // MARK: Values

    /// The value at an offset of a ValueTable; nil for NULL.
    private mutating func value(
        at offset: Int,
        _ type: CIMType,
        isArray: Bool,
        isNull: Bool,
        tables: WMIOTables,
        heap: WMIOHeap
    ) throws(WMIOError) -> CIMValue? {
        // The slot must be there even when it does not count: instances rely on it.
        var slot = try tables.slot(at: offset, length: isArray ? CIMType.string.encodedLength : type.encodedLength)
        if isNull { return nil }
        return isArray
            ? try self.array(try slot.uint32(.valueTable), of: type, heap: heap)
            : try self.value(&slot, type, heap: heap)
    }

    /// An EncodedValue, [MS-WMIO] 2.2.71; nil for a reference to nothing.
    private mutating func value(
        _ reader: inout WMIOReader,
        _ type: CIMType,
        heap: WMIOHeap
    ) throws(WMIOError) -> CIMValue? {
        switch type {
        case .string: try heap.string(try reader.uint32(.valueTable), &self.allowance).map { .string($0) }
        case .datetime: try heap.string(try reader.uint32(.valueTable), &self.allowance).map { .datetime($0) }
        case .reference: try heap.string(try reader.uint32(.valueTable), &self.allowance).map { .reference($0) }
        case .object: try self.embedded(try reader.uint32(.valueTable), heap: heap)
        default: CIMValue(type, try reader.number(type.encodedLength, .valueTable))
        }
    }

    /// An Encoded-Array in the heap, [MS-WMIO] 2.2.79.
    private mutating func array(
        _ reference: UInt32,
        of type: CIMType,
        heap: WMIOHeap
    ) throws(WMIOError) -> CIMValue? {
        if reference == WMIOFormat.nullReference { return nil }
        var reader = try heap.item(reference, .array)
        let start = reader
        let count = Int(try reader.uint32(.array))
        guard count <= reader.remaining / type.encodedLength else {
            throw start.error(
                .truncated(needed: count * type.encodedLength, available: reader.remaining),
                in: .array
            )
        }
        if type.isInline {
            let bytes = try reader.take(count * type.encodedLength, .array)
            try self.allowance.charge(bytes.count, start)
            return .array(CIMArray(type, Array(bytes)))
        }
        try self.allowance.charge(count * MemoryLayout<CIMValue?>.stride, start)
        var values: [CIMValue?] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(try self.value(&reader, type, heap: heap)) }
        return .array(CIMArray(values))
    }

    /// An object in the heap: its length and an ObjectBlock, [MS-WMIO] 2.2.71.
    private mutating func embedded(_ reference: UInt32, heap: WMIOHeap) throws(WMIOError) -> CIMValue? {
        if reference == WMIOFormat.nullReference { return nil }
        var reader = try heap.item(reference, .object)
        guard self.depth < self.maximumDepth else {
            throw reader.error(.tooDeep(limit: self.maximumDepth), in: .object)
        }
        let length = Int(try reader.uint32(.object))
        let block = WMIOReader(try reader.take(length, .object), base: reader.base)
        // An object that is referred to again and again costs time even when it takes no memory.
        try self.allowance.charge(length + MemoryLayout<WMIObject>.stride, block)
        self.depth += 1
        defer { self.depth -= 1 }
        return .object(try self.objectBlock(block))
    }
}

/// The NdTable and the ValueTable of a class or an instance, [MS-WMIO] 2.2.26 and 2.2.29.
struct WMIOTables {
    private let bytes: ArraySlice<UInt8>
    private let ndTableLength: Int
    private let base: Int

    init(_ bytes: ArraySlice<UInt8>, propertyCount: Int, base: Int) {
        self.bytes = bytes
        self.ndTableLength = WMIOFormat.ndTableLength(propertyCount: propertyCount)
        self.base = base
    }

    /// The bits of the property with this DeclarationOrder.
    func flags(order: Int) throws(WMIOError) -> (isNull: Bool, isInherited: Bool) {
        let available = min(self.ndTableLength, self.bytes.count)
        guard order / 4 < available else {
            throw WMIOError(
                .outsideTable(index: order, count: available * 4),
                in: .ndTable,
                at: self.bytes.startIndex - self.base
            )
        }
        let bits = self.bytes[self.bytes.startIndex + order / 4] >> UInt8(order % 4 * 2)
        return (bits & WMIOFormat.nullBit != 0, bits & WMIOFormat.inheritedBit != 0)
    }

    /// The bytes of a property's value.
    func slot(at offset: Int, length: Int) throws(WMIOError) -> WMIOReader {
        let values = self.bytes.dropFirst(self.ndTableLength)
        guard offset <= values.count - length else {
            throw WMIOError(
                .outsideTable(index: offset, count: values.count),
                in: .valueTable,
                at: values.startIndex - self.base
            )
        }
        return WMIOReader(values[(values.startIndex + offset)...], base: self.base)
    }
}
