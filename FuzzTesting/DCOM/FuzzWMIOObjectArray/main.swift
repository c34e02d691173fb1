// Any bytes as the answer of the smart enumerator, twice in one enumeration and then in another. What is decoded is no
// larger than allowed.

import DCOM
import Driver
import Foundation

exit(
    fuzz { data, size in
        let bytes = array(data, size)
        var decoder = WMIObjectDecoder()
        let first = try? decoder.decode(objectArray: bytes[...])
        let second = try? decoder.decode(objectArray: bytes[...])
        if let first {
            // Each object has at least its two headers.
            precondition(first.count * 17 <= size)
            precondition(weight(first) <= max(decoder.limits.memoryFloor, decoder.limits.memoryPerByte * size))
            precondition(second?.map(\.className) == first.map(\.className))
        }
        decoder.beginEnumeration()
        let third = try? decoder.decode(objectArray: bytes[...])
        precondition(third?.count == first?.count)
        return 0
    }
)

/// The memory of objects, about: classes once, and what instances inherit with their class.
func weight(_ objects: [WMIObject]) -> Int {
    var seen: Set<ObjectIdentifier> = []
    return objects.reduce(0) { $0 + weight($1, &seen) }
}

func weight(_ object: WMIObject, _ seen: inout Set<ObjectIdentifier>) -> Int {
    var sum = 0
    let isNew = seen.insert(ObjectIdentifier(object.definition)).inserted
    for property in object.properties {
        sum += MemoryLayout<WMIObject.State>.stride
        if isNew {
            sum += MemoryLayout<WMIPropertyDeclaration>.stride + property.name.utf8.count
            sum += property.declaration.defaultValue.map { weight($0, &seen) } ?? 0
        }
        // A class's own values are its defaults.
        if object.kind == .instance, case .value(let value) = property.state { sum += weight(value, &seen) }
    }
    return sum
}

func weight(_ value: CIMValue, _ seen: inout Set<ObjectIdentifier>) -> Int {
    switch value {
    case .string(let text), .datetime(let text), .reference(let text): text.utf8.count
    case .object(let object): MemoryLayout<WMIObject>.stride + weight(object, &seen)
    case .array(let values):
        values.reduce(0) { $0 + ($1.map { 4 + weight($0, &seen) } ?? 4) }
    default: 0
    }
}
