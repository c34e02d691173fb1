/// A request without arguments of a plain RPC interface.
package struct EmptyRequest: NDRCodable {
    package init() {}
    package init(from reader: inout NDRReader) throws(NDRError) {}
    package func encode(to writer: inout NDRWriter) {}
}

/// IObjectExporter::SimplePing, [MS-DCOM] 3.1.2.5.1.2: keeps the objects of a set alive.
package enum SimplePing: RemoteMethod {
    package static let interface = RPCInterface.objectExporter
    package static let opnum: UInt16 = 1

    package struct Request: NDRCodable {
        package var set: UInt64

        package init(set: UInt64) {
            self.set = set
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.set = try reader.uint64()
        }

        package func encode(to writer: inout NDRWriter) {
            writer.uint64(self.set)
        }
    }

    package struct Response: NDRCodable {
        /// A Win32 error; 0 is success.
        package var status: HRESULT

        package init(status: HRESULT = .ok) {
            self.status = status
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.status = try HRESULT(from: &reader)
        }

        package func encode(to writer: inout NDRWriter) {
            self.status.encode(to: &writer)
        }
    }
}

/// IObjectExporter::ComplexPing, [MS-DCOM] 3.1.2.5.1.3: makes or changes a set of objects and pings it.
package enum ComplexPing: RemoteMethod {
    package static let interface = RPCInterface.objectExporter
    package static let opnum: UInt16 = 2

    package struct Request: NDRCodable {
        /// 0 makes a new one.
        package var set: UInt64
        /// Begins at 1 and counts the changes of the set ([MS-DCOM] 3.2.6.1).
        package var sequence: UInt16
        package var added: [UInt64]
        package var removed: [UInt64]

        package init(set: UInt64, sequence: UInt16, added: [UInt64], removed: [UInt64]) {
            self.set = set
            self.sequence = sequence
            self.added = added
            self.removed = removed
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.set = try reader.uint64()
            self.sequence = try reader.uint16()
            let added = Int(try reader.uint16())
            let removed = Int(try reader.uint16())
            self.added = try Self.decodeObjects(added, from: &reader)
            self.removed = try Self.decodeObjects(removed, from: &reader)
        }

        private static func decodeObjects(
            _ announced: Int,
            from reader: inout NDRReader
        ) throws(NDRError) -> [UInt64] {
            guard try reader.pointer() != 0 else {
                guard announced == 0 else {
                    throw .invalid(offset: reader.offset, "\(announced) objects behind a null pointer")
                }
                return []
            }
            let count = try reader.count(ofElementSize: 8)
            guard count == announced else {
                throw .invalid(offset: reader.offset, "\(announced) objects in an array of \(count)")
            }
            var objects: [UInt64] = []
            for _ in 0..<count { objects.append(try reader.uint64()) }
            return objects
        }

        package func encode(to writer: inout NDRWriter) {
            writer.uint64(self.set)
            writer.uint16(self.sequence)
            writer.uint16(UInt16(clamping: self.added.count))
            writer.uint16(UInt16(clamping: self.removed.count))
            for objects in [self.added, self.removed] {
                writer.pointer(isNull: objects.isEmpty)
                guard !objects.isEmpty else { continue }
                writer.count(objects.count)
                for object in objects { writer.uint64(object) }
            }
        }
    }

    package struct Response: NDRCodable {
        package var set: UInt64
        /// A hint to ping less often; clients may ignore it.
        package var backoff: UInt16
        /// A Win32 error; 0 is success.
        package var status: HRESULT

        package init(set: UInt64, backoff: UInt16 = 0, status: HRESULT = .ok) {
            self.set = set
            self.backoff = backoff
            self.status = status
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.set = try reader.uint64()
            self.backoff = try reader.uint16()
            self.status = try HRESULT(from: &reader)
        }

        package func encode(to writer: inout NDRWriter) {
            writer.uint64(self.set)
            writer.uint16(self.backoff)
            self.status.encode(to: &writer)
        }
    }
}

/// IObjectExporter::ServerAlive2, [MS-DCOM] 3.1.2.5.1.6: the host's version and addresses, for anybody who asks.
package enum ServerAlive2: RemoteMethod {
    package static let interface = RPCInterface.objectExporter
    package static let opnum: UInt16 = 5

    package typealias Request = EmptyRequest

    package struct Response: NDRCodable {
        package var version: COMVersion
        /// Of the resolver; without ports.
        package var bindings: DualStringArray
        /// A Win32 error; 0 is success.
        package var status: HRESULT

        package init(version: COMVersion = .current, bindings: DualStringArray, status: HRESULT = .ok) {
            self.version = version
            self.bindings = bindings
            self.status = status
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.version = try COMVersion(from: &reader)
            self.bindings =
                try reader.pointer() == 0 ? DualStringArray() : try DualStringArray(from: &reader)
            _ = try reader.uint32()
            self.status = try HRESULT(from: &reader)
        }

        package func encode(to writer: inout NDRWriter) {
            self.version.encode(to: &writer)
            writer.pointer(isNull: false)
            self.bindings.encode(to: &writer)
            writer.uint32(0)
            self.status.encode(to: &writer)
        }
    }
}
