/// REMINTERFACEREF, [MS-DCOM] 2.2.23: references to give back or to take.
package struct InterfaceReferenceCount: NDRCodable {
    package var ipid: GUID
    package var publicReferences: UInt32
    package var privateReferences: UInt32

    static let size = 24

    package init(ipid: GUID, publicReferences: UInt32, privateReferences: UInt32 = 0) {
        self.ipid = ipid
        self.publicReferences = publicReferences
        self.privateReferences = privateReferences
    }

    package init(from reader: inout NDRReader) throws(NDRError) {
        self.ipid = try reader.guid()
        self.publicReferences = try reader.uint32()
        self.privateReferences = try reader.uint32()
    }

    package func encode(to writer: inout NDRWriter) {
        writer.guid(self.ipid)
        writer.uint32(self.publicReferences)
        writer.uint32(self.privateReferences)
    }

    /// A 16-bit count, then the array with its own.
    static func decodeArray(from reader: inout NDRReader) throws(NDRError) -> [InterfaceReferenceCount] {
        let announced = Int(try reader.uint16())
        let count = try reader.count(ofElementSize: Self.size)
        guard count == announced else {
            throw .invalid(offset: reader.offset, "\(announced) references in an array of \(count)")
        }
        var references: [InterfaceReferenceCount] = []
        references.reserveCapacity(count)
        for _ in 0..<count { references.append(try InterfaceReferenceCount(from: &reader)) }
        return references
    }

    static func encodeArray(_ references: [InterfaceReferenceCount], to writer: inout NDRWriter) {
        writer.uint16(UInt16(clamping: references.count))
        writer.count(references.count)
        for reference in references { reference.encode(to: &writer) }
    }
}

/// IRemUnknown::RemQueryInterface, [MS-DCOM] 3.1.1.5.6.1.1: more interfaces of an object that is known.
package enum RemQueryInterface: RemoteMethod {
    package static let interface = RPCInterface.remUnknown
    package static let opnum: UInt16 = 3

    package struct Request: ObjectRequest {
        package var this: ORPCThis
        /// An interface of the object that the caller holds.
        package var ipid: GUID
        /// Public references wanted for each.
        package var references: UInt32
        package var interfaces: [GUID]

        package init(this: ORPCThis, ipid: GUID, references: UInt32, interfaces: [GUID]) {
            self.this = this
            self.ipid = ipid
            self.references = references
            self.interfaces = interfaces
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.this = try ORPCThis(from: &reader)
            self.ipid = try reader.guid()
            self.references = try reader.uint32()
            let announced = Int(try reader.uint16())
            let count = try reader.count(ofElementSize: 16)
            guard count == announced else {
                throw .invalid(offset: reader.offset, "\(announced) identifiers in an array of \(count)")
            }
            self.interfaces = []
            for _ in 0..<count { self.interfaces.append(try reader.guid()) }
        }

        package func encode(to writer: inout NDRWriter) {
            self.this.encode(to: &writer)
            writer.guid(self.ipid)
            writer.uint32(self.references)
            writer.uint16(UInt16(clamping: self.interfaces.count))
            writer.count(self.interfaces.count)
            for interface in self.interfaces { writer.guid(interface) }
        }
    }

    /// REMQIRESULT, [MS-DCOM] 2.2.24.
    package struct Result: NDRCodable {
        package var result: HRESULT
        package var reference: StandardReference

        static let size = 48

        package init(result: HRESULT, reference: StandardReference) {
            self.result = result
            self.reference = reference
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            try reader.align(to: 8)
            self.result = try HRESULT(from: &reader)
            self.reference = try StandardReference(from: &reader)
        }

        package func encode(to writer: inout NDRWriter) {
            writer.align(to: 8)
            self.result.encode(to: &writer)
            self.reference.encode(to: &writer)
        }
    }

    package struct Response: ObjectResponse {
        package var that: ORPCThat
        /// One for each interface that was asked for; empty if the call failed as a whole.
        package var results: [Result]
        package var result: HRESULT

        package init(that: ORPCThat = ORPCThat(), results: [Result], result: HRESULT = .ok) {
            self.that = that
            self.results = results
            self.result = result
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.that = try ORPCThat(from: &reader)
            self.results = []
            if try reader.pointer() != 0 {
                let count = try reader.count(ofElementSize: Result.size)
                for _ in 0..<count { self.results.append(try Result(from: &reader)) }
            }
            self.result = try HRESULT(from: &reader)
        }

        package func encode(to writer: inout NDRWriter) {
            self.that.encode(to: &writer)
            writer.pointer(isNull: self.results.isEmpty)
            if !self.results.isEmpty {
                writer.count(self.results.count)
                for result in self.results { result.encode(to: &writer) }
            }
            self.result.encode(to: &writer)
        }
    }
}

/// IRemUnknown::RemAddRef, [MS-DCOM] 3.1.1.5.6.1.2.
package enum RemAddRef: RemoteMethod {
    package static let interface = RPCInterface.remUnknown
    package static let opnum: UInt16 = 4

    package typealias Request = RemRelease.Request

    package struct Response: ObjectResponse {
        package var that: ORPCThat
        /// One for each reference.
        package var results: [HRESULT]
        package var result: HRESULT

        package init(that: ORPCThat = ORPCThat(), results: [HRESULT], result: HRESULT = .ok) {
            self.that = that
            self.results = results
            self.result = result
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.that = try ORPCThat(from: &reader)
            self.results = []
            let count = try reader.count(ofElementSize: 4)
            for _ in 0..<count { self.results.append(try HRESULT(from: &reader)) }
            self.result = try HRESULT(from: &reader)
        }

        package func encode(to writer: inout NDRWriter) {
            self.that.encode(to: &writer)
            writer.count(self.results.count)
            for result in self.results { result.encode(to: &writer) }
            self.result.encode(to: &writer)
        }
    }
}

/// IRemUnknown::RemRelease, [MS-DCOM] 3.1.1.5.6.1.3.
package enum RemRelease: RemoteMethod {
    package static let interface = RPCInterface.remUnknown
    package static let opnum: UInt16 = 5

    /// What one call can carry, by the 16-bit count.
    package static let maximumReferences = Int(UInt16.max)

    package struct Request: ObjectRequest {
        package var this: ORPCThis
        package var references: [InterfaceReferenceCount]

        package init(this: ORPCThis, references: [InterfaceReferenceCount]) {
            self.this = this
            self.references = references
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.this = try ORPCThis(from: &reader)
            self.references = try InterfaceReferenceCount.decodeArray(from: &reader)
        }

        package func encode(to writer: inout NDRWriter) {
            self.this.encode(to: &writer)
            InterfaceReferenceCount.encodeArray(self.references, to: &writer)
        }
    }

    package typealias Response = ObjectResult
}

/// An answer without results of its own.
package struct ObjectResult: ObjectResponse {
    package var that: ORPCThat
    package var result: HRESULT

    package init(that: ORPCThat = ORPCThat(), result: HRESULT = .ok) {
        self.that = that
        self.result = result
    }

    package init(from reader: inout NDRReader) throws(NDRError) {
        self.that = try ORPCThat(from: &reader)
        self.result = try HRESULT(from: &reader)
    }

    package func encode(to writer: inout NDRWriter) {
        self.that.encode(to: &writer)
        self.result.encode(to: &writer)
    }
}
