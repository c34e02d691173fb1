// Any bytes as a CIM object. What is decoded is no larger than allowed, and the same when its class is known already.

import DCOM
import Driver
import Foundation

exit(
    fuzz { data, size in
        let bytes = array(data, size)
        var decoder = WMIObjectDecoder()
        guard let object = try? decoder.decode(bytes) else { return 0 }
        precondition(weight(object) <= max(decoder.limits.memoryFloor, decoder.limits.memoryPerByte * size))
        let again = try? decoder.decode(bytes)
        precondition(again?.className == object.className && again?.definition === object.definition)
        precondition(again?.properties.count == object.properties.count)
        for (first, second) in zip(object.properties, again?.properties ?? []) {
            precondition(first.name == second.name && (first.value == nil) == (second.value == nil))
            // Names may occur twice; the first counts.
            precondition(object.state(of: first.name) != nil)
        }
        return 0
    }
)

/// The memory of an object, about.
func weight(_ object: WMIObject) -> Int {
    object.properties.reduce(0) { sum, property in
        sum + MemoryLayout<WMIPropertyDeclaration>.stride + MemoryLayout<WMIObject.State>.stride
            + property.name.utf8.count + (property.value.map { weight($0) } ?? 0)
    }
}

func weight(_ value: CIMValue) -> Int {
    switch value {
    case .string(let text), .datetime(let text), .reference(let text): text.utf8.count
    case .object(let object): MemoryLayout<WMIObject>.stride + weight(object)
    case .array(let values):
        values.reduce(0) { $0 + ($1.map { 4 + weight($0) } ?? 4) }
    default: 0
    }
}
