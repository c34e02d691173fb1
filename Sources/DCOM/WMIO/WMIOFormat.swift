/// Constants of the encoding of CIM objects, [MS-WMIO] 2.2.
package enum WMIOFormat {
    /// The first four bytes of an EncodingUnit, [MS-WMIO] 2.2.77. The objects of an ObjectArray have none.
    package static let signature: UInt32 = 0x1234_5678

    // MARK: ObjectFlags, [MS-WMIO] 2.2.6

    /// The object is a class.
    package static let classFlag: UInt8 = 0x01
    /// The object is an instance.
    package static let instanceFlag: UInt8 = 0x02
    /// The names of server and namespace follow.
    package static let decorationFlag: UInt8 = 0x04

    // MARK: Classes and instances

    /// EncodingLength, ReservedOctet, ClassNameRef and NdTableValueTableLength, [MS-WMIO] 2.2.16.
    package static let classHeaderLength = 13
    /// PropertyNameRef and PropertyInfoRef, [MS-WMIO] 2.2.23.
    package static let propertyLookupLength = 8
    /// NullAndDefaultFlag, [MS-WMIO] 2.2.27: the value is NULL.
    package static let nullBit: UInt8 = 0b01
    /// NullAndDefaultFlag, [MS-WMIO] 2.2.27: the value is inherited; an instance inherits from its own class.
    package static let inheritedBit: UInt8 = 0b10
    /// InstPropQualSetFlag, [MS-WMIO] 2.2.65: no property has qualifiers of its own.
    package static let noPropertyQualifiers: UInt8 = 1
    /// InstPropQualSetFlag, [MS-WMIO] 2.2.65: a QualifierSet for each property follows.
    package static let propertyQualifiers: UInt8 = 2

    /// How many bytes an NdTable takes, [MS-WMIO] 2.2.26: two bits for each property, none without properties.
    ///
    /// The bits of a property are at its DeclarationOrder, not at its place in the PropertyLookupTable: 2.2.26 can be
    /// read either way, the example in [MS-WMIO] 3 says so.
    package static func ndTableLength(propertyCount: Int) -> Int {
        (propertyCount + 3) / 4
    }

    // MARK: PropertyType, [MS-WMIO] 2.2.31 and 2.2.82

    /// The bits of a type's field that count.
    package static let typeMask: UInt32 = 0xFFFF
    /// The value is an array.
    package static let arrayFlag: UInt32 = 0x2000
    /// The property is declared in a superclass.
    package static let inheritedFlag: UInt32 = 0x4000

    // MARK: Heaps and strings, [MS-WMIO] 2.2.66 to 2.2.80

    /// HeapLength always has this bit, [MS-WMIO] 2.2.66.
    package static let heapLengthFlag: UInt32 = 0x8000_0000
    /// A HeapRef to nothing: NULL, [MS-WMIO] 2.2.69.
    package static let nullReference: UInt32 = 0xFFFF_FFFF
    /// A HeapRef with this bit names an entry of the dictionary, [MS-WMIO] 2.2.69.
    package static let dictionaryFlag: UInt32 = 0x8000_0000
    /// Strings that are never written out, [MS-WMIO] 2.2.80.
    package static let dictionary = [
        "\"", "key", "", "read", "write", "volatile", "provider", "dynamic", "cimwin32", "DWORD", "CIMTYPE",
    ]
    /// Encoded-String-Flag, [MS-WMIO] 2.2.78: one byte for each character, U+0000 to U+00FF.
    package static let compressedString: UInt8 = 0
    /// Encoded-String-Flag, [MS-WMIO] 2.2.78: UTF-16.
    package static let unicodeString: UInt8 = 1

    // MARK: ObjectArray, [MS-WMI] 2.2.14

    /// abSignature of an ObjectArray.
    package static let objectArraySignature = Array("WBEMDATA".utf8)
    /// dwSizeOfHeader1: byte order, signature, two sizes, flags, version and packet type.
    package static let packetHeaderLength: UInt32 = 26
    package static let packetVersion: UInt8 = 1
    /// bPacketType of an optimized IWbemObjectSink::Indicate.
    package static let indicatePacket: UInt8 = 0
    /// bPacketType of IWbemWCOSmartEnum::Next.
    package static let nextPacket: UInt8 = 1
    /// dwSizeOfHeader2.
    package static let callHeaderLength: UInt32 = 8
    /// dwSizeOfHeader3.
    package static let arrayHeaderLength: UInt32 = 12
    /// dwSizeOfHeader of a WBEM_DATAPACKET_OBJECT.
    package static let objectHeaderLength: UInt32 = 9
    /// dwSizeOfHeader of a WBEMOBJECT_CLASS.
    package static let classObjectHeaderLength: UInt32 = 8
    /// dwSizeOfHeader of a WBEMOBJECT_INSTANCE and a WBEMOBJECT_INSTANCE_NOCLASS: two sizes and the class's GUID.
    package static let instanceObjectHeaderLength: UInt32 = 24
    /// bObjectType of a class.
    package static let classObject: UInt8 = 1
    /// bObjectType of an instance with its class.
    package static let instanceObject: UInt8 = 2
    /// bObjectType of an instance whose class came with an earlier instance.
    package static let instanceWithoutClassObject: UInt8 = 3
}
