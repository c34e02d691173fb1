internal import Synchronization

/// Values that C callbacks refer to by number, so that a late callback finds nothing instead of freed memory.
final class HandleTable<Value: Sendable>: Sendable {
    private struct State {
        var values: [UInt: Value] = [:]
        var next: UInt = 1
    }

    private let state = Mutex(State())

    func insert(_ value: Value) -> UInt {
        self.state.withLock { state in
            defer { state.next += 1 }
            state.values[state.next] = value
            return state.next
        }
    }

    func remove(_ handle: UInt) {
        _ = self.state.withLock { $0.values.removeValue(forKey: handle) }
    }

    subscript(closure: UnsafeMutableRawPointer?) -> Value? {
        let handle = UInt(bitPattern: closure)
        return self.state.withLock { $0.values[handle] }
    }
}

extension UInt {
    /// What is given to C in place of a pointer.
    var closure: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: self) }
}
