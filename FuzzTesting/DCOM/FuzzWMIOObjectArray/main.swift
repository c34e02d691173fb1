// Any bytes as the answer of the smart enumerator, twice in one enumeration and then in another.

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
            precondition(second?.map(\.className) == first.map(\.className))
        }
        decoder.beginEnumeration()
        let third = try? decoder.decode(objectArray: bytes[...])
        precondition(third?.count == first?.count)
        return 0
    }
)
