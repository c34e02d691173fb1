/// IWbemFetchSmartEnum::GetSmartEnum, [MS-WMI] 3.1.4.6.1: from an enumerator to its compact form.
package enum GetSmartEnum: RemoteMethod {
    package static let interface = RPCInterface.wbemFetchSmartEnum
    package static let opnum: UInt16 = 3

    package struct Request: ObjectRequest {
        package var this: ORPCThis

        package init(this: ORPCThis) {
            self.this = this
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.this = try ORPCThis(from: &reader)
        }

        package func encode(to writer: inout NDRWriter) {
            self.this.encode(to: &writer)
        }
    }

    package typealias Response = InterfaceResponse
}

/// IWbemWCOSmartEnum::Next, [MS-WMI] 3.1.4.7.1: the next objects, the class part of each class only once.
package enum SmartNext: RemoteMethod {
    package static let interface = RPCInterface.wbemWCOSmartEnum
    package static let opnum: UInt16 = 3

    package struct Request: ObjectRequest {
        package var this: ORPCThis
        /// Names the client; the host remembers by it which class parts the client has.
        package var proxy: GUID
        /// How long the host may wait for the first objects, in milliseconds, or ``EnumNext/infinite``.
        package var timeout: UInt32
        package var count: UInt32

        package init(this: ORPCThis, proxy: GUID, timeout: UInt32, count: UInt32) {
            self.this = this
            self.proxy = proxy
            self.timeout = timeout
            self.count = count
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.this = try ORPCThis(from: &reader)
            // A reference pointer, whose referent stands in its place.
            self.proxy = try reader.guid()
            self.timeout = try reader.uint32()
            self.count = try reader.uint32()
        }

        package func encode(to writer: inout NDRWriter) {
            self.this.encode(to: &writer)
            writer.guid(self.proxy)
            writer.uint32(self.timeout)
            writer.uint32(self.count)
        }
    }

    package struct Response: ObjectResponse {
        package var that: ORPCThat
        package var returned: UInt32
        /// An ObjectArray ([MS-WMI] 2.2.14), empty if there is none.
        package var buffer: ArraySlice<UInt8>
        /// ``HRESULT/wbemFalse`` is the end of the enumeration, and may come with objects.
        package var result: HRESULT

        package init(that: ORPCThat = ORPCThat(), returned: UInt32, buffer: ArraySlice<UInt8>, result: HRESULT) {
            self.that = that
            self.returned = returned
            self.buffer = buffer
            self.result = result
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.that = try ORPCThat(from: &reader)
            self.returned = try reader.uint32()
            let size = Int(try reader.uint32())
            self.buffer = []
            if try reader.pointer() != 0 {
                self.buffer = try reader.conformantBytes()
                guard self.buffer.count == size else {
                    throw .invalid(offset: reader.offset, "\(size) bytes in a buffer of \(self.buffer.count)")
                }
            }
            self.result = try HRESULT(from: &reader)
        }

        package func encode(to writer: inout NDRWriter) {
            self.that.encode(to: &writer)
            writer.uint32(self.returned)
            writer.count(self.buffer.count)
            writer.pointer(isNull: self.buffer.isEmpty)
            if !self.buffer.isEmpty { writer.conformantBytes(self.buffer) }
            self.result.encode(to: &writer)
        }
    }
}
