// Any bytes as an activation, as its answer, and as the properties inside them. What can be read can be written, and
// reads the same again.

import DCOM
import Driver
import Foundation

exit(
    fuzz { data, size in
        let bytes = array(data, size)
        guard let selector = bytes.first else { return 0 }
        let rest = bytes.dropFirst()
        switch selector % 3 {
        case 0:
            guard let request = try? RemoteCreateInstance.Request(stub: rest) else { return 0 }
            precondition(request.activation.interfaces.count <= rest.count / 16)
            precondition(request.activation.protocols.count <= rest.count / 2)
            precondition((try? RemoteCreateInstance.Request(stub: request.stub)) == request)
        case 1:
            guard let response = try? RemoteCreateInstance.Response(stub: rest) else { return 0 }
            precondition(response.reply?.interfaces.count ?? 0 <= rest.count / 16)
            precondition((try? RemoteCreateInstance.Response(stub: response.stub)) == response)
        default:
            guard let blob = try? ActivationBlob(rest) else { return 0 }
            precondition(blob.properties.count <= ActivationBlob.maximumProperties)
            precondition(blob.properties.reduce(0) { $0 + $1.bytes.count } <= rest.count)
            precondition((try? ActivationBlob(blob.bytes[...])) == blob)
            _ = try? ActivationRequest(blob)
            _ = try? ActivationReply(blob)
        }
        return 0
    }
)
