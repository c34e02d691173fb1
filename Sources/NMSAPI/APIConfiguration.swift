package import NMSCore

/// What the API needs to know of the configuration (specification §10.2: `server`, `auth`, `cache`, `polling`).
package struct APIConfiguration: Sendable {
    /// How the server speaks TLS.
    package struct TLS: Sendable, Equatable {
        /// Versions that can be the lowest one (specification §8.4).
        package enum Version: Sendable, CaseIterable {
            case v12
            case v13
        }

        /// PEM file of the certificate and its chain.
        package var certificatePath: String
        /// PEM file of the certificate's private key.
        package var privateKeyPath: String
        /// `server.tls.min_version`: clients that offer less are refused.
        package var minimumVersion: Version

        // No default: whoever makes one has to say what the operator wants.
        package init(certificatePath: String, privateKeyPath: String, minimumVersion: Version) {
            self.certificatePath = certificatePath
            self.privateKeyPath = privateKeyPath
            self.minimumVersion = minimumVersion
        }
    }

    /// `server.host`: an address or name to listen on.
    package var host = "0.0.0.0"
    /// `server.port`; 0 means any free one.
    package var port = 8443
    /// nil means plain HTTP (`server.tls.enabled: false`).
    package var tls: TLS?
    /// `server.read_timeout`: from the head of a request to its last byte.
    package var readTimeout: Duration = .seconds(30)
    /// `server.write_timeout`: from the head of an answer to its last byte.
    package var writeTimeout: Duration = .seconds(30)
    /// How long a connection may be without a request.
    package var idleTimeout: Duration = .seconds(120)
    /// How long a client may take for the TLS handshake.
    package var handshakeTimeout: Duration = .seconds(10)
    /// How many connections there may be at once; beyond it idle ones are closed for new ones.
    package var maximumConnections = 2000
    /// The most that a request's body may have.
    package var maximumBodyBytes = 1 << 20

    /// `auth.jwt_secret`: at least 32 bytes.
    package var jwtSecret: Secret
    /// `auth.access_token_ttl`.
    package var accessTokenTTL: Duration = .seconds(15 * 60)
    /// `auth.refresh_token_ttl`.
    package var refreshTokenTTL: Duration = .seconds(7 * 24 * 3600)
    /// Limits on failed logins.
    package var loginThrottle = LoginThrottle.Limits()

    /// `cache.metrics_ttl`.
    package var metricsTTL: Duration = .seconds(30)
    /// `cache.cleanup_interval`.
    package var cleanupInterval: Duration = .seconds(60)
    /// `polling.default_interval`, in seconds.
    package var defaultPollingInterval = Device.defaultPollingInterval
    /// `rate_limit.requests_per_second` of one client.
    package var requestsPerSecond = 2000

    /// What `GET /metrics` answers from, and to whom; nil leaves it out.
    package var exposition: MetricsExposition?

    package init(jwtSecret: Secret) { self.jwtSecret = jwtSecret }
}

/// A setting that the API can't work with; the message names it.
package struct APIConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}
