package import Logging

/// What every line that is logged on behalf of a request carries, whichever logger writes it.
package enum RequestLogContext {
    @TaskLocal static var requestID: String?

    /// For `LoggingSystem.bootstrap`: `request_id` of the request that the current task answers.
    package static let metadataProvider = Logger.MetadataProvider {
        guard let id = Self.requestID else { return [:] }
        return ["request_id": "\(id)"]
    }
}

/// At which level an answer stands in the access log.
enum AccessLogLevel {
    /// What machines ask every few seconds, for ever.
    private static let routine: Set<String> = ["/health", "/api/v1/health", MetricsExposition.path]

    /// Routine questions that went well are for those who look closely; what went wrong is for everyone.
    static func of(path: String, status: Int) -> Logger.Level {
        status < 400 && self.routine.contains(path) ? .debug : .info
    }
}
