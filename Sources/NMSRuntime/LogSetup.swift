#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif
package import Logging

/// Sets the process's logging up, once.
package enum LogSetup {
    /// Makes every `Logger` from now on write as configured.
    ///
    /// A broken pipe on standard output must not end the process, so SIGPIPE is ignored from here on. Children inherit
    /// that: who starts one resets it.
    /// - Parameter metadataProvider: what each line carries beside its own metadata, such as the id of a request.
    /// - Throws: when the log file cannot be opened.
    package static func install(
        _ configuration: Configuration,
        metadataProvider: Logger.MetadataProvider? = nil
    ) throws(StartError) {
        let logs = configuration.logs
        let sink = try LogSink(logs.output)
        signal(SIGPIPE, SIG_IGN)
        LoggingSystem.bootstrap(
            { label, provider in
                var handler = JSONLogHandler(label: label, level: logs.level, format: logs.format, sink: sink)
                handler.metadataProvider = provider
                return handler
            },
            metadataProvider: metadataProvider
        )
    }
}
