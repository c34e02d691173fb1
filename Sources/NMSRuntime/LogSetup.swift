#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif
import Logging

/// Sets the process's logging up, once.
package enum LogSetup {
    /// Makes every `Logger` from now on write as configured.
    ///
    /// A broken pipe on standard output must not end the process, so SIGPIPE is ignored from here on. Children inherit
    /// that: who starts one resets it.
    /// - Throws: when the log file cannot be opened.
    package static func install(_ configuration: Configuration) throws(StartError) {
        let logs = configuration.logs
        let sink = try LogSink(logs.output)
        signal(SIGPIPE, SIG_IGN)
        LoggingSystem.bootstrap(
            { label, provider in
                var handler = JSONLogHandler(label: label, level: logs.level, format: logs.format, sink: sink)
                handler.metadataProvider = provider
                return handler
            },
            metadataProvider: nil
        )
    }
}
