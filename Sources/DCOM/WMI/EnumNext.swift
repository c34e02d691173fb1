/// IEnumWbemClassObject::Next, [MS-WMI] 3.1.4.4.2: the next objects of a query, each whole.
package enum EnumNext: RemoteMethod {
    package static let interface = RPCInterface.enumWbemClassObject
    package static let opnum: UInt16 = 4

    /// WBEM_INFINITE
    package static let infinite: UInt32 = .max

    package struct Request: ObjectRequest {
        package var this: ORPCThis
        /// How long the host may wait for the first objects, in milliseconds, or ``EnumNext/infinite``.
        package var timeout: UInt32
        package var count: UInt32

        package init(this: ORPCThis, timeout: UInt32, count: UInt32) {
            self.this = this
            self.timeout = timeout
            self.count = count
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.this = try ORPCThis(from: &reader)
            self.timeout = try reader.uint32()
            self.count = try reader.uint32()
        }

        package func encode(to writer: inout NDRWriter) {
            self.this.encode(to: &writer)
            writer.uint32(self.timeout)
            writer.uint32(self.count)
        }
    }

    package struct Response: ObjectResponse {
        package var that: ORPCThat
        /// Size of the array that the caller has room for, as it asked.
        package var maximum: UInt32
        /// Custom references whose data are encoding units ([MS-WMIO] 2.2.1).
        package var objects: [ObjectReference]
        /// ``HRESULT/wbemFalse`` is the end of the enumeration, and may come with objects.
        package var result: HRESULT

        package init(
            that: ORPCThat = ORPCThat(),
            maximum: UInt32,
            objects: [ObjectReference],
            result: HRESULT
        ) {
            self.that = that
            self.maximum = maximum
            self.objects = objects
            self.result = result
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.that = try ORPCThat(from: &reader)
            self.maximum = try reader.uint32()
            let count = try reader.actualCount(ofElementSize: 4, maximum: self.maximum)
            var present = 0
            for _ in 0..<count where try reader.pointer() != 0 { present += 1 }
            self.objects = []
            for _ in 0..<present { self.objects.append(try InterfacePointer.decode(from: &reader)) }
            // puReturned says the same as the array's length.
            _ = try reader.uint32()
            self.result = try HRESULT(from: &reader)
        }

        package func encode(to writer: inout NDRWriter) {
            self.that.encode(to: &writer)
            writer.uint32(self.maximum)
            writer.uint32(0)
            writer.count(self.objects.count)
            for _ in self.objects { writer.pointer() }
            for object in self.objects { InterfacePointer.encode(object, to: &writer) }
            writer.count(self.objects.count)
            self.result.encode(to: &writer)
        }
    }
}
