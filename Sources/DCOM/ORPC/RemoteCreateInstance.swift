/// IRemoteSCMActivator::RemoteCreateInstance, [MS-DCOM] 3.1.2.5.2.3.3: makes an object.
///
/// Hosts with the hardening of KB5004442 refuse it below packet integrity.
package enum RemoteCreateInstance: RemoteMethod {
    package static let interface = RPCInterface.remoteSCMActivator
    package static let opnum: UInt16 = 4

    package struct Request: ObjectRequest {
        package var this: ORPCThis
        package var activation: ActivationRequest

        package init(this: ORPCThis, activation: ActivationRequest) {
            self.this = this
            self.activation = activation
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.this = try ORPCThis(from: &reader)
            // pUnkOuter must be null for remote activation.
            _ = try InterfacePointer.decodeUnique(from: &reader)
            let reference = try InterfacePointer.decodeUnique(from: &reader)
            self.activation = try ActivationRequest(RemoteCreateInstance.blob(reference))
        }

        package func encode(to writer: inout NDRWriter) {
            self.this.encode(to: &writer)
            InterfacePointer.encodeUnique(nil, to: &writer)
            let reference = ObjectReference(
                interface: InterfaceID.activationPropertiesIn,
                kind: .custom(
                    classID: ClassID.activationPropertiesIn,
                    extensionSize: 0,
                    data: self.activation.blob.bytes[...]
                )
            )
            InterfacePointer.encodeUnique(reference, to: &writer)
        }
    }

    package struct Response: ObjectResponse {
        package var that: ORPCThat
        /// Nil if the activation failed.
        package var reply: ActivationReply?
        package var result: HRESULT

        package init(that: ORPCThat = ORPCThat(), reply: ActivationReply?, result: HRESULT = .ok) {
            self.that = that
            self.reply = reply
            self.result = result
        }

        package init(from reader: inout NDRReader) throws(NDRError) {
            self.that = try ORPCThat(from: &reader)
            let reference = try InterfacePointer.decodeUnique(from: &reader)
            self.result = try HRESULT(from: &reader)
            self.reply = reference == nil ? nil : try ActivationReply(RemoteCreateInstance.blob(reference))
        }

        package func encode(to writer: inout NDRWriter) {
            self.that.encode(to: &writer)
            let reference = self.reply.map { reply in
                ObjectReference(
                    interface: InterfaceID.activationPropertiesOut,
                    kind: .custom(
                        classID: ClassID.activationPropertiesOut,
                        extensionSize: 0,
                        data: reply.blob.bytes[...]
                    )
                )
            }
            InterfacePointer.encodeUnique(reference, to: &writer)
            self.result.encode(to: &writer)
        }
    }

    private static func blob(_ reference: ObjectReference?) throws(NDRError) -> ActivationBlob {
        guard case .custom(_, _, let data) = reference?.kind else {
            throw .invalid(offset: 0, "activation properties in no custom OBJREF")
        }
        return try ActivationBlob(data)
    }
}
