// Any bytes as a host's reply.

import Driver
import Foundation
import WinRM

exit(
    fuzz { data, size in
        let bytes = array(data, size)
        do throws(WSManReplyError) {
            let page = try WSManReply.page(bytes, maximumInstances: 20)
            precondition(page.items.count <= 20)
            for item in page.items {
                for property in item.properties {
                    precondition(item.has(property.name))
                    _ = property.value?.date
                    _ = property.value?.uint64
                    _ = property.value?.double
                    _ = property.value?.bool
                }
            }
        } catch {
            check(error)
        }
        _ = try? WSManReply.identify(bytes)
        _ = try? WSManReply.released(bytes)
        return 0
    }
)

/// A host must not be able to fill logs with a fault.
func check(_ error: WSManReplyError) {
    guard case .fault(let fault) = error else { return }
    precondition(fault.windowsCodes.count <= WSManFault.maximumNested)
    precondition(fault.details.count <= WSManFault.maximumNested)
    precondition(fault.reason.count <= WSManFault.maximumTextLength)
    precondition((fault.message ?? "").count <= WSManFault.maximumTextLength)
    _ = fault.kind
    _ = fault.description
}
