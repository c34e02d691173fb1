import ArgumentParser
import Logging
import NMSAPI
import NMSRuntime
import ServiceLifecycle
import UnixSignals

struct ServeCommand: ConfiguredCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run the server (the default command).",
        discussion: """
            Ends on SIGTERM or SIGINT within 15 seconds: polls under way finish, what was collected is stored.
            SIGHUP loads the certificate anew, which also happens by itself when its files change.
            """
    )

    func run(_ configuration: Configuration, warnings: [String]) async throws {
        try LogSetup.install(configuration, metadataProvider: RequestLogContext.metadataProvider)
        Observability.start()
        let logger = Logger(label: "nmslite")
        let descriptorLimit = DescriptorLimit.raise()
        logger.info("nmslite starts", metadata: ["version": "\(Version.current)"])
        for warning in warnings { logger.warning("\(warning)") }
        let (reloads, reload) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let servesTLS = configuration.server.tls.enabled && configuration.roles.contains(.api)
        let hangups = await HangupService(reloads: servesTLS ? reload : nil, logger: logger)
        let instance = Instance(
            configuration: configuration,
            descriptorLimit: descriptorLimit,
            certificateReloads: reloads,
            logger: logger
        )
        var services = ServiceGroupConfiguration(
            services: [.init(service: hangups), .init(service: instance)],
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: Logger(label: "nmslite.lifecycle") { _ in SwiftLogNoOpLogHandler() }
        )
        services.maximumGracefulShutdownDuration = .seconds(14)
        try await ServiceGroup(configuration: services).run()
        logger.info("nmslite ends")
    }
}
