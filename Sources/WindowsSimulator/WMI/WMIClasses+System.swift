/// Classes that describe the machine, its operating system and its drives.
enum SystemClasses {
    private static func text(_ name: String, isKey: Bool = false, _ value: @escaping @Sendable (HostSnapshot) -> String)
        -> WMIProperty
    {
        WMIProperty(name, .string, isKey: isKey) { host, _ in .string(value(host)) }
    }

    private static func number(
        _ name: String,
        _ type: CIMType,
        _ value: @escaping @Sendable (HostSnapshot) -> UInt64
    ) -> WMIProperty {
        WMIProperty(name, type) { host, _ in .unsigned(value(host)) }
    }

    private static func moment(_ name: String, _ value: @escaping @Sendable (HostSnapshot) -> FileTime) -> WMIProperty {
        WMIProperty(name, .datetime) { host, _ in
            .datetime(value(host), offsetMinutes: host.profile.timeZoneMinutes)
        }
    }

    private static func fixed(_ name: String, _ text: String) -> WMIProperty { .constant(name, .string, .string(text)) }

    private static func fixed(_ name: String, _ type: CIMType, _ number: UInt64) -> WMIProperty {
        .constant(name, type, .unsigned(number))
    }

    private static func fixed(_ name: String, _ flag: Bool) -> WMIProperty { .constant(name, .boolean, .boolean(flag)) }

    /// Paging file of a quarter of the memory.
    private static func pagingKiB(_ host: HostSnapshot) -> UInt64 { host.profile.memoryKiB / 4 }

    /// What somebody typed in; mostly nothing, here and there more than ASCII, or more than Latin-1.
    private static func description(of profile: HostProfile) -> String {
        switch profile.index % 8 {
        case 2: "Büroserver"
        case 6: "サーバー室 \u{1F5A5}"
        default: ""
        }
    }

    static let operatingSystem = WMIClass(
        "Win32_OperatingSystem",
        superclass: "CIM_OperatingSystem",
        properties: [
            fixed("BootDevice", #"\Device\HarddiskVolume1"#),
            text("BuildNumber") { String($0.profile.release.build) },
            fixed("BuildType", "Multiprocessor Free"),
            text("Caption") { $0.profile.release.caption },
            fixed("CodeSet", "1252"),
            fixed("CountryCode", "1"),
            fixed("CreationClassName", "Win32_OperatingSystem"),
            fixed("CSCreationClassName", "Win32_ComputerSystem"),
            .null("CSDVersion"),
            text("CSName") { $0.profile.computerName },
            WMIProperty("CurrentTimeZone", .sint16) { host, _ in .signed(Int64(host.profile.timeZoneMinutes)) },
            fixed("DataExecutionPrevention_32BitApplications", true),
            fixed("DataExecutionPrevention_Available", true),
            fixed("DataExecutionPrevention_Drivers", true),
            fixed("DataExecutionPrevention_SupportPolicy", .uint8, 3),
            fixed("Debug", false),
            text("Description") { Self.description(of: $0.profile) },
            fixed("Distributed", false),
            fixed("EncryptionLevel", .uint32, 256),
            fixed("ForegroundApplicationBoost", .uint8, 2),
            number("FreePhysicalMemory", .uint64) { $0.freeMemoryKiB },
            number("FreeSpaceInPagingFiles", .uint64) { Self.pagingKiB($0) / 8 * 7 },
            number("FreeVirtualMemory", .uint64) { $0.freeMemoryKiB + Self.pagingKiB($0) / 8 * 7 },
            moment("InstallDate") { $0.profile.installTime },
            .null("LargeSystemCache", .uint32),
            moment("LastBootUpTime") { $0.bootTime },
            moment("LocalDateTime") { $0.localTime },
            fixed("Locale", "0409"),
            fixed("Manufacturer", "Microsoft Corporation"),
            fixed("MaxNumberOfProcesses", .uint32, 4_294_967_295),
            fixed("MaxProcessMemorySize", .uint64, 137_438_953_344),
            WMIProperty("MUILanguages", .string, isArray: true) { _, _ in .array([.string("en-US")]) },
            text("Name", isKey: true) {
                "\($0.profile.release.caption)|C:\\Windows|\\Device\\Harddisk0\\Partition2"
            },
            fixed("NumberOfLicensedUsers", .uint32, 0),
            number("NumberOfProcesses", .uint32) { UInt64($0.processCount) },
            fixed("NumberOfUsers", .uint32, 2),
            number("OperatingSystemSKU", .uint32) { UInt64($0.profile.release.operatingSystemSKU) },
            fixed("Organization", ""),
            fixed("OSArchitecture", "64-bit"),
            fixed("OSLanguage", .uint32, 1_033),
            fixed("OSProductSuite", .uint32, 272),
            fixed("OSType", .uint16, 18),
            .null("OtherTypeDescription"),
            .null("PAEEnabled", .boolean),
            .null("PlusProductID"),
            .null("PlusVersionNumber"),
            fixed("PortableOperatingSystem", false),
            fixed("Primary", true),
            number("ProductType", .uint32) { UInt64($0.profile.release.productType) },
            fixed("RegisteredUser", "Windows User"),
            text("SerialNumber") { $0.profile.serialNumber },
            fixed("ServicePackMajorVersion", .uint16, 0),
            fixed("ServicePackMinorVersion", .uint16, 0),
            number("SizeStoredInPagingFiles", .uint64) { Self.pagingKiB($0) },
            fixed("Status", "OK"),
            fixed("SuiteMask", .uint32, 272),
            fixed("SystemDevice", #"\Device\HarddiskVolume2"#),
            fixed("SystemDirectory", #"C:\Windows\system32"#),
            fixed("SystemDrive", "C:"),
            .null("TotalSwapSpaceSize", .uint64),
            number("TotalVirtualMemorySize", .uint64) { $0.profile.memoryKiB + Self.pagingKiB($0) },
            number("TotalVisibleMemorySize", .uint64) { $0.profile.memoryKiB },
            text("Version") { $0.profile.release.version },
            fixed("WindowsDirectory", #"C:\Windows"#),
        ],
        instanceCount: { _ in 1 }
    )

    static let computerSystem = WMIClass(
        "Win32_ComputerSystem",
        superclass: "CIM_UnitaryComputerSystem",
        properties: [
            fixed("AdminPasswordStatus", .uint16, 3),
            fixed("AutomaticManagedPagefile", true),
            fixed("AutomaticResetBootOption", true),
            fixed("AutomaticResetCapability", true),
            .null("BootOptionOnLimit", .uint16),
            .null("BootOptionOnWatchDog", .uint16),
            fixed("BootROMSupported", true),
            fixed("BootupState", "Normal boot"),
            text("Caption") { $0.profile.computerName },
            fixed("ChassisBootupState", .uint16, 3),
            fixed("CreationClassName", "Win32_ComputerSystem"),
            WMIProperty("CurrentTimeZone", .sint16) { host, _ in .signed(Int64(host.profile.timeZoneMinutes)) },
            .null("DaylightInEffect", .boolean),
            fixed("Description", "AT/AT COMPATIBLE"),
            text("DNSHostName") { $0.profile.dnsHostName },
            text("Domain") { $0.profile.domain },
            WMIProperty("DomainRole", .uint16) { host, _ in
                let isServer = host.profile.release.productType != 1
                return .unsigned((isServer ? 2 : 0) + (host.profile.isDomainMember ? 1 : 0))
            },
            fixed("EnableDaylightSavingsTime", true),
            fixed("FrontPanelResetStatus", .uint16, 3),
            fixed("HypervisorPresent", true),
            fixed("InfraredSupported", false),
            .null("InstallDate", .datetime),
            fixed("KeyboardPasswordStatus", .uint16, 3),
            .null("LastLoadInfo"),
            fixed("Manufacturer", "VMware, Inc."),
            fixed("Model", "VMware Virtual Platform"),
            text("Name", isKey: true) { $0.profile.computerName },
            fixed("NetworkServerModeEnabled", true),
            number("NumberOfLogicalProcessors", .uint32) { UInt64($0.profile.coreCount) },
            number("NumberOfProcessors", .uint32) { UInt64(max(1, $0.profile.coreCount / 4)) },
            WMIProperty("PartOfDomain", .boolean) { host, _ in .boolean(host.profile.isDomainMember) },
            .constant("PauseAfterReset", .sint64, .signed(-1)),
            fixed("PCSystemType", .uint16, 1),
            fixed("PowerOnPasswordStatus", .uint16, 0),
            fixed("PowerState", .uint16, 0),
            fixed("PowerSupplyState", .uint16, 3),
            .null("PrimaryOwnerContact"),
            fixed("PrimaryOwnerName", "Windows User"),
            fixed("ResetCapability", .uint16, 1),
            .constant("ResetCount", .sint16, .signed(-1)),
            .constant("ResetLimit", .sint16, .signed(-1)),
            WMIProperty("Roles", .string, isArray: true) { _, _ in
                .array([.string("LM_Workstation"), .string("LM_Server"), .string("NT")])
            },
            fixed("Status", "OK"),
            fixed("SystemType", "x64-based PC"),
            fixed("ThermalState", .uint16, 3),
            number("TotalPhysicalMemory", .uint64) { $0.profile.memoryKiB * 1_024 },
            .null("UserName"),
            fixed("WakeUpType", .uint16, 6),
            WMIProperty("Workgroup", .string) { host, _ in
                host.profile.isDomainMember ? .null : .string(host.profile.domain)
            },
        ],
        instanceCount: { _ in 1 }
    )
}
