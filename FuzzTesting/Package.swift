// swift-tools-version: 6.2
import PackageDescription

// Fuzzing has a package of its own: its targets are built with sanitizers, which no other build wants.
// The rooms under test are the real sources, reached through the links in Rooms/, so that `package` access works.

/// Coverage for libFuzzer and AddressSanitizer; optimised, with all of Swift's run-time checks.
let instrumentation: [SwiftSetting] = [
    .unsafeFlags(["-sanitize=fuzzer,address"]),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

/// A room of the main package, instrumented; of a room with a network side, name the sources that decode.
func room(_ name: String, dependencies: [Target.Dependency], sources: [String]? = nil) -> Target {
    .target(
        name: name,
        dependencies: dependencies,
        path: "Rooms/\(name)",
        exclude: ["README.md"],
        sources: sources,
        swiftSettings: instrumentation
    )
}

/// One fuzz target: an executable whose `main.swift` calls `fuzz`.
func fuzzTarget(_ name: String, of room: String, dependencies: [Target.Dependency] = []) -> Target {
    .executableTarget(
        name: name,
        dependencies: [.target(name: room), "Driver"] + dependencies,
        path: "\(room)/\(name)",
        swiftSettings: instrumentation,
        // gold, the default here, fails on the debug information of sanitized objects.
        linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])]
    )
}

let package = Package(
    name: "nmslite-fuzzing",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2")
    ],
    targets: [
        .target(name: "CLibFuzzer", path: "CLibFuzzer"),
        .target(name: "Driver", dependencies: ["CLibFuzzer"], path: "Driver", swiftSettings: instrumentation),

        // MARK: SSP
        room("SSP", dependencies: [.product(name: "Crypto", package: "swift-crypto")]),
        fuzzTarget("FuzzNTLMMessages", of: "SSP"),
        fuzzTarget("FuzzNTLMAccept", of: "SSP"),
        fuzzTarget("FuzzSPNEGOTokens", of: "SSP"),
        fuzzTarget("FuzzSPNEGOExchange", of: "SSP"),

        // MARK: WinRM
        room("WinRM", dependencies: [], sources: ["XML", "SOAP", "Transport/SealedMultipart.swift"]),
        fuzzTarget("FuzzXML", of: "WinRM"),
        fuzzTarget("FuzzWSManReply", of: "WinRM"),
        fuzzTarget("FuzzSealedMultipart", of: "WinRM"),

        // MARK: DCOM
        room(
            "DCOM",
            dependencies: ["SSP"],
            // What decodes; the rest needs a network.
            sources: [
                "NDR", "RPC/RPCBind.swift", "RPC/RPCBindAck.swift", "RPC/RPCCall.swift",
                "RPC/RPCClientMachine.swift", "RPC/RPCClientMachine+Answers.swift", "RPC/RPCError.swift",
                "RPC/RPCFragment.swift", "RPC/RPCFragmenter.swift", "RPC/RPCHeader.swift", "RPC/RPCInterface.swift",
                "RPC/RPCLimits.swift", "RPC/RPCPDU.swift", "RPC/RPCReassembler.swift", "RPC/RPCSecurityContext.swift",
                "RPC/RPCStatus.swift", "RPC/RPCVerifier.swift", "WMIO",
                "ORPC", "WMI/EnumNext.swift", "WMI/ExecQuery.swift", "WMI/NTLMLogin.swift",
                "WMI/SmartEnumeration.swift",
            ]
        ),
        fuzzTarget("FuzzNDR", of: "DCOM"),
        fuzzTarget("FuzzRPCFragments", of: "DCOM", dependencies: ["SSP"]),
        fuzzTarget("FuzzRPCSecurity", of: "DCOM", dependencies: ["SSP"]),
        fuzzTarget("FuzzWMIOObject", of: "DCOM"),
        fuzzTarget("FuzzWMIOObjectArray", of: "DCOM"),
        fuzzTarget("FuzzOBJREF", of: "DCOM"),
        fuzzTarget("FuzzActivation", of: "DCOM"),
    ],
    swiftLanguageModes: [.v6]
)
