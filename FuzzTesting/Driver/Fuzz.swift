import CLibFuzzer

/// What a fuzz target does with one input: return normally on anything the code is allowed to do, trap on the rest.
package typealias FuzzBody = @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32

/// Hands the process over to libFuzzer. Does not return before the run ends; the status is the process's.
package func fuzz(_ body: FuzzBody) -> Int32 {
    var count = CommandLine.argc
    var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
    return LLVMFuzzerRunDriver(&count, &arguments, body)
}

/// Copies libFuzzer's buffer, so that the code under test gets the array it gets in life.
package func array(_ data: UnsafePointer<UInt8>?, _ size: Int) -> [UInt8] {
    Array(UnsafeBufferPointer(start: data, count: size))
}
