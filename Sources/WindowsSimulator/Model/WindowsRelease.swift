/// A release of Windows as WMI describes it.
package struct WindowsRelease: Sendable, Hashable {
    package var caption: String
    /// Major, minor and build.
    package var version: String
    package var build: Int
    /// `Win32_OperatingSystem.ProductType`: 1 workstation, 2 domain controller, 3 server.
    package var productType: Int
    package var operatingSystemSKU: Int
    /// 2012 R2 answers an optimized enumeration of several instances with one item, the rest by Pull.
    package var answersOneItemFirst = false

    /// Major and minor as NTLM's VERSION structure carries them.
    package var majorMinor: (major: UInt8, minor: UInt8) {
        let parts = self.version.split(separator: ".").compactMap { UInt8($0) }
        return (parts.first ?? 10, parts.dropFirst().first ?? 0)
    }

    /// What a fleet consists of, in the order in which hosts take them.
    static let fleet: [Self] = [
        Self(
            caption: "Microsoft Windows Server 2022 Standard",
            version: "10.0.20348",
            build: 20_348,
            productType: 3,
            operatingSystemSKU: 7
        ),
        Self(
            caption: "Microsoft Windows Server 2012 R2 Standard",
            version: "6.3.9600",
            build: 9_600,
            productType: 3,
            operatingSystemSKU: 7,
            answersOneItemFirst: true
        ),
        Self(
            caption: "Microsoft Windows Server 2019 Standard",
            version: "10.0.17763",
            build: 17_763,
            productType: 3,
            operatingSystemSKU: 7
        ),
        Self(
            caption: "Microsoft Windows Server 2016 Datacenter",
            version: "10.0.14393",
            build: 14_393,
            productType: 3,
            operatingSystemSKU: 8
        ),
        Self(
            caption: "Microsoft Windows Server 2025 Datacenter",
            version: "10.0.26100",
            build: 26_100,
            productType: 3,
            operatingSystemSKU: 8
        ),
        Self(
            caption: "Microsoft Windows 10 Pro",
            version: "10.0.19045",
            build: 19_045,
            productType: 1,
            operatingSystemSKU: 48
        ),
        Self(
            caption: "Microsoft Windows 11 Enterprise",
            version: "10.0.22631",
            build: 22_631,
            productType: 1,
            operatingSystemSKU: 4
        ),
    ]
}
