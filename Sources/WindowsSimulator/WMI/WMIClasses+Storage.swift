/// `Win32_LogicalDisk` and `Win32_Volume`.
enum StorageClasses {
    private static func disk(_ host: HostSnapshot, _ row: Int) -> HostProfile.Disk { host.profile.disks[row] }

    /// Windows' words for a drive type.
    private static func description(_ kind: HostProfile.Disk.Kind) -> String {
        switch kind {
        case .fixed: "Local Fixed Disk"
        case .network: "Network Connection"
        case .compactDisc: "CD-ROM Disc"
        }
    }

    private static func value(
        _ name: String,
        _ type: CIMType,
        isKey: Bool = false,
        _ value: @escaping @Sendable (HostSnapshot, HostProfile.Disk) -> CIMValue
    ) -> WMIProperty {
        WMIProperty(name, type, isKey: isKey) { host, row in value(host, Self.disk(host, row)) }
    }

    /// A value that only a drive with a medium has.
    private static func ofMedium(_ name: String, _ type: CIMType, _ content: CIMValue) -> WMIProperty {
        Self.value(name, type) { _, disk in disk.size == nil ? .null : content }
    }

    static let logicalDisk = WMIClass(
        "Win32_LogicalDisk",
        superclass: "CIM_LogicalDisk",
        properties: [
            ofMedium("Access", .uint16, .unsigned(0)),
            .null("Availability", .uint16),
            .null("BlockSize", .uint64),
            value("Caption", .string) { _, disk in .string(disk.letter) },
            ofMedium("Compressed", .boolean, .boolean(false)),
            .null("ConfigManagerErrorCode", .uint32),
            .null("ConfigManagerUserConfig", .boolean),
            .constant("CreationClassName", .string, .string("Win32_LogicalDisk")),
            value("Description", .string) { _, disk in .string(Self.description(disk.kind)) },
            value("DeviceID", .string, isKey: true) { _, disk in .string(disk.letter) },
            value("DriveType", .uint32) { _, disk in .unsigned(UInt64(disk.kind.rawValue)) },
            .null("ErrorCleared", .boolean),
            .null("ErrorDescription"),
            .null("ErrorMethodology"),
            ofMedium("FileSystem", .string, .string("NTFS")),
            value("FreeSpace", .uint64) { host, disk in .optional(host.freeSpace(of: disk)) },
            .null("InstallDate", .datetime),
            .null("LastErrorCode", .uint32),
            ofMedium("MaximumComponentLength", .uint32, .unsigned(255)),
            value("MediaType", .uint32) { _, disk in
                switch disk.kind {
                case .fixed: .unsigned(12)
                case .compactDisc: .unsigned(11)
                case .network: .unsigned(0)
                }
            },
            value("Name", .string) { _, disk in .string(disk.letter) },
            .null("NumberOfBlocks", .uint64),
            .null("PNPDeviceID"),
            .null("PowerManagementSupported", .boolean),
            value("ProviderName", .string) { host, disk in
                disk.kind == .network ? .string("\\\\fileserver.\(host.profile.fleet.dnsDomain)\\share") : .null
            },
            .null("Purpose"),
            ofMedium("QuotasDisabled", .boolean, .boolean(true)),
            ofMedium("QuotasIncomplete", .boolean, .boolean(false)),
            ofMedium("QuotasRebuilding", .boolean, .boolean(false)),
            value("Size", .uint64) { _, disk in .optional(disk.size) },
            .null("Status"),
            .null("StatusInfo", .uint16),
            ofMedium("SupportsDiskQuotas", .boolean, .boolean(true)),
            ofMedium("SupportsFileBasedCompression", .boolean, .boolean(true)),
            .constant("SystemCreationClassName", .string, .string("Win32_ComputerSystem")),
            value("SystemName", .string) { host, _ in .string(host.profile.computerName) },
            value("VolumeDirty", .boolean) { _, disk in disk.size == nil ? .null : .boolean(false) },
            value("VolumeName", .string) { _, disk in disk.size == nil ? .null : .string(disk.label) },
            value("VolumeSerialNumber", .string) { host, disk in
                disk.size == nil ? .null : .string(Self.serial(host, disk))
            },
        ],
        instanceCount: { $0.profile.disks.count }
    )

    /// A number that stays the same for a host's drive.
    private static func serial(_ host: HostSnapshot, _ disk: HostProfile.Disk) -> String {
        let letter = UInt64(disk.letter.utf8.first ?? 0)
        let number = (UInt64(host.profile.index) &* 2_654_435_761 &+ letter &* 40_503) & 0xFFFF_FFFF
        let digits = String(number, radix: 16, uppercase: true)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }

    private static func deviceID(_ host: HostSnapshot, _ disk: HostProfile.Disk) -> String {
        let serial = Self.serial(host, disk).lowercased()
        return "\\\\?\\Volume{\(serial)-0000-11e9-9a5b-806e6f6e6963}\\"
    }

    /// Volumes are the local drives: the network drive is no volume.
    static let volume = WMIClass(
        "Win32_Volume",
        superclass: "CIM_StorageVolume",
        properties: [
            ofMedium("Access", .uint16, .unsigned(0)),
            .constant("Automount", .boolean, .boolean(true)),
            ofMedium("BlockSize", .uint64, .unsigned(HostSnapshot.clusterSize)),
            value("BootVolume", .boolean) { _, disk in .boolean(disk.letter == "C:") },
            value("Capacity", .uint64) { _, disk in .optional(disk.size) },
            value("Caption", .string) { _, disk in .string(disk.letter + "\\") },
            ofMedium("Compressed", .boolean, .boolean(false)),
            value("DeviceID", .string, isKey: true) { host, disk in .string(Self.deviceID(host, disk)) },
            ofMedium("DirtyBitSet", .boolean, .boolean(false)),
            value("DriveLetter", .string) { _, disk in .string(disk.letter) },
            value("DriveType", .uint32) { _, disk in .unsigned(UInt64(disk.kind.rawValue)) },
            ofMedium("FileSystem", .string, .string("NTFS")),
            value("FreeSpace", .uint64) { host, disk in .optional(host.freeSpace(of: disk)) },
            ofMedium("IndexingEnabled", .boolean, .boolean(true)),
            value("Label", .string) { _, disk in disk.label.isEmpty ? .null : .string(disk.label) },
            ofMedium("MaximumFileNameLength", .uint32, .unsigned(255)),
            value("Name", .string) { _, disk in .string(disk.letter + "\\") },
            value("PageFilePresent", .boolean) { _, disk in .boolean(disk.letter == "C:") },
            value("SerialNumber", .uint32) { host, disk in
                disk.size == nil ? .null : .optional(UInt64(Self.serial(host, disk), radix: 16))
            },
            .null("Status"),
            value("SystemName", .string) { host, _ in .string(host.profile.computerName) },
            value("SystemVolume", .boolean) { _, disk in .boolean(disk.letter == "C:") },
        ],
        instanceCount: { $0.profile.disks.count { $0.kind != .network } }
    )
}
