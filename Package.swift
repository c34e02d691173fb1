// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "nmslite",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "nmslite", targets: ["nmslite"]),
        .executable(name: "winsim", targets: ["winsim"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
        .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.1"),
    ],
    targets: [
        // MARK: C boundaries: one module per library, imported by one room each.
        .systemLibrary(name: "CLibpq", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "CLibnats", pkgConfig: "libnats", providers: [.apt(["libnats-dev"])]),
        .systemLibrary(name: "CLibcrypt", pkgConfig: "libcrypt", providers: [.apt(["libcrypt-dev"])]),
        .target(name: "CProcessGuard", exclude: ["README.md"]),

        // MARK: Rooms that know nothing of NMSlite.
        .target(
            name: "SSP",
            dependencies: [.product(name: "Crypto", package: "swift-crypto")],
            exclude: ["README.md"]
        ),
        .testTarget(name: "SSPTests", dependencies: ["SSP"]),
        .target(
            name: "WinRM",
            dependencies: [
                "SSP",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
                .product(name: "SwiftASN1", package: "swift-asn1"),
                .product(name: "X509", package: "swift-certificates"),
            ],
            exclude: ["README.md"]
        ),
        .testTarget(
            name: "WinRMTests",
            dependencies: [
                "SSP", "WinRM",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "SwiftASN1", package: "swift-asn1"),
                .product(name: "X509", package: "swift-certificates"),
            ],
            exclude: ["Fixtures"]
        ),
        .target(
            name: "DCOM",
            dependencies: [
                "SSP",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            exclude: ["README.md"]
        ),
        .testTarget(
            name: "DCOMTests",
            dependencies: [
                "DCOM", "SSP",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOTestUtils", package: "swift-nio"),
            ],
            exclude: ["Fixtures"]
        ),
        .target(
            name: "Supervision",
            dependencies: ["CProcessGuard", .product(name: "Logging", package: "swift-log")],
            exclude: ["README.md"]
        ),
        .target(
            name: "Postgres",
            dependencies: ["CLibpq", "Supervision", .product(name: "Logging", package: "swift-log")],
            exclude: ["README.md"]
        ),
        .target(name: "Bcrypt", dependencies: ["CLibcrypt"], exclude: ["README.md"]),
        .target(
            name: "Prometheus",
            dependencies: [
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
            ],
            exclude: ["README.md"]
        ),
        .testTarget(
            name: "PrometheusTests",
            dependencies: [
                "Prometheus",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
            ]
        ),

        // MARK: NMSlite, in the order data flows.
        .target(name: "NMSCore", exclude: ["README.md"]),
        .target(
            name: "NMSScheduler",
            dependencies: [
                "NMSCore",
                .product(name: "HeapModule", package: "swift-collections"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
            ],
            exclude: ["README.md"]
        ),
        .target(
            name: "NMSQueue",
            dependencies: [
                "CLibnats", "NMSCore", "Supervision",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "Logging", package: "swift-log"),
            ],
            exclude: ["README.md"]
        ),
        .target(
            name: "NMSCollectors",
            dependencies: ["DCOM", "NMSCore", "SSP", "WinRM", .product(name: "NIOCore", package: "swift-nio")],
            exclude: ["README.md"]
        ),
        .target(
            name: "NMSPoller",
            dependencies: [
                "NMSCollectors", "NMSCore",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
            ],
            exclude: ["README.md"]
        ),
        .target(
            name: "NMSDiscovery",
            dependencies: [
                "DCOM", "NMSCollectors", "NMSCore", "SSP", "WinRM",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            exclude: ["README.md"]
        ),
        .target(
            name: "NMSStorage",
            dependencies: [
                "NMSCore", "Postgres",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
            ],
            exclude: ["README.md"],
            // One file each: embedding takes no directories. `Migrations` is a link to the top level's `migrations`.
            resources: [
                .embedInCode("Migrations/000001_init_schema.up.sql"),
                .embedInCode("Migrations/000001_init_schema.down.sql"),
                .embedInCode("Migrations/000002_metrics_hourly.up.sql"),
                .embedInCode("Migrations/000002_metrics_hourly.down.sql"),
                .embedInCode("Migrations/000003_audit.up.sql"),
                .embedInCode("Migrations/000003_audit.down.sql"),
                .embedInCode("Migrations/000004_discoveries.up.sql"),
                .embedInCode("Migrations/000004_discoveries.down.sql"),
                .embedInCode("Migrations/000005_partition_leases.up.sql"),
                .embedInCode("Migrations/000005_partition_leases.down.sql"),
                .embedInCode("Migrations/000006_master_keys.up.sql"),
                .embedInCode("Migrations/000006_master_keys.down.sql"),
            ]
        ),
        .target(
            name: "NMSAPI",
            dependencies: [
                "Bcrypt", "NMSCore", "NMSStorage", "Postgres", "Prometheus",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HummingbirdHTTP2", package: "hummingbird"),
                .product(name: "JWTKit", package: "jwt-kit"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            exclude: ["README.md"]
        ),
        .target(
            name: "NMSRuntime",
            dependencies: [
                "NMSCore",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "SwiftASN1", package: "swift-asn1"),
                .product(name: "X509", package: "swift-certificates"),
                .product(name: "Yams", package: "Yams"),
            ],
            exclude: ["README.md"]
        ),
        .testTarget(
            name: "NMSRuntimeTests",
            dependencies: [
                "NMSCore", "NMSRuntime",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "SwiftASN1", package: "swift-asn1"),
                .product(name: "X509", package: "swift-certificates"),
            ]
        ),
        .target(
            name: "NMSClient",
            dependencies: [
                "NMSCore", "NMSRuntime",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "SwiftASN1", package: "swift-asn1"),
                .product(name: "X509", package: "swift-certificates"),
            ],
            exclude: ["README.md"]
        ),
        .testTarget(name: "NMSClientTests", dependencies: ["NMSClient", "NMSCore"]),
        .executableTarget(
            name: "nmslite",
            dependencies: [
                "Bcrypt", "CProcessGuard", "NMSAPI", "NMSClient", "NMSCollectors", "NMSCore", "NMSDiscovery",
                "NMSPoller",
                "NMSQueue",
                "NMSRuntime", "NMSScheduler", "NMSStorage", "Postgres", "Prometheus", "Supervision", "WinRM",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ]
        ),

        // MARK: The simulated Windows fleet.
        .target(
            name: "WindowsSimulator",
            dependencies: [
                "DCOM", "SSP", "WinRM",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "SwiftASN1", package: "swift-asn1"),
                .product(name: "X509", package: "swift-certificates"),
                .product(name: "Yams", package: "Yams"),
            ],
            exclude: ["README.md"]
        ),
        .executableTarget(
            name: "winsim",
            dependencies: [
                "WindowsSimulator",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]
        ),

        // MARK: Measuring.
        .executableTarget(
            name: "apibench",
            dependencies: [
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HummingbirdHTTP2", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ],
            path: "Benchmarks/apibench"
        ),
        .executableTarget(
            name: "collectorbench",
            dependencies: [
                "NMSCollectors", "NMSCore",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            path: "Benchmarks/collectorbench",
            exclude: ["peers.py"]
        ),

        .executableTarget(
            name: "discoverybench",
            dependencies: [
                "NMSCollectors", "NMSCore", "NMSDiscovery",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            path: "Benchmarks/discoverybench"
        ),
        .executableTarget(
            name: "writerbench",
            dependencies: [
                "NMSCore", "NMSQueue", "NMSStorage", "Postgres",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Benchmarks/writerbench"
        ),

        .testTarget(
            name: "WindowsSimulatorTests",
            dependencies: [
                "DCOM", "SSP", "WinRM", "WindowsSimulator",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]
        ),

        // MARK: Tests of the core rooms.
        // For tests of supervised servers: their own executable cannot become a guard process.
        .executableTarget(
            name: "guardtool",
            dependencies: ["CProcessGuard", "Supervision"],
            path: "Tests/Support/GuardTool"
        ),
        .target(name: "SupervisionTesting", dependencies: ["Supervision"], path: "Tests/Support/SupervisionTesting"),
        .testTarget(
            name: "SupervisionTests",
            dependencies: [
                "Supervision", "SupervisionTesting", "guardtool",
                .product(name: "Logging", package: "swift-log"),
            ]
        ),
        .testTarget(
            name: "NMSQueueTests",
            dependencies: [
                "NMSCore", "NMSQueue", "Supervision", "SupervisionTesting", "guardtool",
                .product(name: "Logging", package: "swift-log"),
            ]
        ),
        .testTarget(name: "NMSCoreTests", dependencies: ["NMSCore"]),
        .testTarget(
            name: "NMSSchedulerTests",
            dependencies: [
                "NMSCore", "NMSScheduler",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "MetricsTestKit", package: "swift-metrics"),
            ]
        ),
        .testTarget(
            name: "NMSCollectorsTests",
            dependencies: [
                "NMSCollectors", "NMSCore", "WindowsSimulator", .product(name: "NIOPosix", package: "swift-nio"),
            ]
        ),
        .testTarget(
            name: "NMSDiscoveryTests",
            dependencies: [
                "NMSCollectors", "NMSCore", "NMSDiscovery", "WindowsSimulator",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]
        ),
        .testTarget(
            name: "NMSPollerTests",
            dependencies: [
                "NMSCollectors", "NMSCore", "NMSPoller",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "MetricsTestKit", package: "swift-metrics"),
            ]
        ),

        // MARK: Tests of storage.
        .target(
            name: "PostgresTestSupport",
            dependencies: ["Postgres"],
            path: "Tests/PostgresTestSupport",
            exclude: ["README.md"]
        ),
        .testTarget(
            name: "PostgresTests",
            dependencies: [
                "Postgres", "PostgresTestSupport", "Supervision", "SupervisionTesting", "guardtool",
                .product(name: "Logging", package: "swift-log"),
            ]
        ),
        .target(
            name: "NMSStorageTestSupport",
            dependencies: [
                "NMSStorage", "Postgres", "PostgresTestSupport", .product(name: "Logging", package: "swift-log"),
            ],
            path: "Tests/NMSStorageTestSupport"
        ),
        .testTarget(
            name: "NMSStorageTests",
            dependencies: [
                "NMSCore", "NMSStorage", "NMSStorageTestSupport", "Postgres", "PostgresTestSupport",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "MetricsTestKit", package: "swift-metrics"),
            ]
        ),

        // MARK: Tests of the API.
        .testTarget(name: "BcryptTests", dependencies: ["Bcrypt"]),
        .testTarget(
            name: "NMSAPITests",
            dependencies: [
                "Bcrypt", "NMSAPI", "NMSCore", "NMSStorage", "Postgres", "PostgresTestSupport", "Prometheus",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "CryptoExtras", package: "swift-crypto"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdTesting", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "SwiftASN1", package: "swift-asn1"),
                .product(name: "X509", package: "swift-certificates"),
            ]
        ),
    ],
    swiftLanguageModes: [.v6]
)

for target in package.targets where ![.system, .plugin, .binary].contains(target.type) {
    var settings = target.swiftSettings ?? []
    settings += [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
    ]
    target.swiftSettings = settings
}
