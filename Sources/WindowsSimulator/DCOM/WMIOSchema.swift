/// How the simulated classes of `root\cimv2` stand in Windows' hierarchy, for [MS-WMIO], which sends all of it.
enum WMIOSchema {
    /// A superclass and the properties that it declares.
    private struct Ancestor: Sendable {
        var name: String
        var properties: Set<String>

        init(_ name: String, _ properties: Set<String> = []) {
            self.name = name
            self.properties = properties
        }
    }

    private static let element = Ancestor(
        "CIM_ManagedSystemElement",
        ["Caption", "Description", "InstallDate", "Name", "Status"]
    )
    private static let logicalElement = Ancestor("CIM_LogicalElement")
    private static let device = Ancestor(
        "CIM_LogicalDevice",
        [
            "Availability", "ConfigManagerErrorCode", "ConfigManagerUserConfig", "CreationClassName", "DeviceID",
            "ErrorCleared", "ErrorDescription", "LastErrorCode", "PNPDeviceID", "PowerManagementSupported",
            "StatusInfo", "SystemCreationClassName", "SystemName",
        ]
    )
    private static let extent = Ancestor(
        "CIM_StorageExtent",
        ["Access", "BlockSize", "ErrorMethodology", "NumberOfBlocks", "Purpose"]
    )
    private static let performance = [
        Ancestor("CIM_StatisticalInformation", ["Caption", "Description", "Name"]),
        Ancestor(
            "Win32_Perf",
            [
                "Frequency_Object", "Frequency_PerfTime", "Frequency_Sys100NS", "Timestamp_Object",
                "Timestamp_PerfTime", "Timestamp_Sys100NS",
            ]
        ),
        Ancestor("Win32_PerfRawData"),
    ]

    /// Ancestors by class, the root first.
    private static let ancestors: [String: [Ancestor]] = [
        SystemClasses.operatingSystem.name: [
            element, logicalElement,
            Ancestor(
                "CIM_OperatingSystem",
                [
                    "CreationClassName", "CSCreationClassName", "CSName", "CurrentTimeZone", "Distributed",
                    "FreePhysicalMemory", "FreeSpaceInPagingFiles", "FreeVirtualMemory", "LastBootUpTime",
                    "LocalDateTime", "MaxNumberOfProcesses", "MaxProcessMemorySize", "NumberOfLicensedUsers",
                    "NumberOfProcesses", "NumberOfUsers", "OSType", "OtherTypeDescription",
                    "SizeStoredInPagingFiles", "TotalSwapSpaceSize", "TotalVirtualMemorySize",
                    "TotalVisibleMemorySize", "Version",
                ]
            ),
        ],
        SystemClasses.computerSystem.name: [
            element, logicalElement,
            Ancestor("CIM_System", ["CreationClassName", "PrimaryOwnerContact", "PrimaryOwnerName", "Roles"]),
            Ancestor("CIM_ComputerSystem"),
            Ancestor("CIM_UnitaryComputerSystem", ["LastLoadInfo", "PowerState", "ResetCapability"]),
        ],
        StorageClasses.logicalDisk.name: [
            element, logicalElement, device, extent, Ancestor("CIM_LogicalDisk", ["FreeSpace", "Size"]),
        ],
        StorageClasses.volume.name: [element, logicalElement, device, extent, Ancestor("CIM_StorageVolume")],
        PerformanceClasses.processor.name: performance,
        PerformanceClasses.processorInformation.name: performance,
        PerformanceClasses.networkInterface.name: performance,
    ]

    /// Defaults that the classes of a host with ``DCOMPlan/Quirks/inheritsDefaults`` declare.
    ///
    /// Values that matter to a collector are among them: who overlooks the NdTable takes a disk for no disk.
    private static let defaults: [String: [String: CIMValue]] = [
        SystemClasses.operatingSystem.name: [
            "CreationClassName": .string("Win32_OperatingSystem"),
            "CSCreationClassName": .string("Win32_ComputerSystem"),
            "MaxNumberOfProcesses": .unsigned(4_294_967_295),
            "Primary": .boolean(true),
        ],
        SystemClasses.computerSystem.name: ["CreationClassName": .string("Win32_ComputerSystem")],
        StorageClasses.logicalDisk.name: [
            "CreationClassName": .string("Win32_LogicalDisk"), "DriveType": .unsigned(3), "MediaType": .unsigned(12),
        ],
        StorageClasses.volume.name: ["DriveType": .unsigned(3)],
        PerformanceClasses.processor.name: frequencies,
        PerformanceClasses.processorInformation.name: frequencies,
        PerformanceClasses.networkInterface.name: frequencies,
    ]

    private static let frequencies: [String: CIMValue] = [
        "Frequency_Object": .unsigned(0),
        "Frequency_PerfTime": .unsigned(UInt64(FileTime.ticksPerSecond)),
        "Frequency_Sys100NS": .unsigned(UInt64(FileTime.ticksPerSecond)),
    ]

    /// The class as a query's objects have it: with the columns that were asked for and no others.
    static func wmioClass(for plan: WMIPlan, quirks: DCOMPlan.Quirks) -> (wmiClass: WMIOClass, columns: [Int]) {
        let source = plan.wmiClass
        let ancestors = Self.ancestors[source.name] ?? []
        let defaults = quirks.inheritsDefaults ? Self.defaults[source.name] ?? [:] : [:]
        let isPerformance = ancestors.first?.name == Self.performance[0].name
        var seen: Set<Int> = []
        let columns = plan.columns.filter { seen.insert($0).inserted }
        let origins = columns.map { column in
            let name = source.properties[column].name
            return ancestors.firstIndex { $0.properties.contains(name) } ?? ancestors.count
        }
        // Inherited properties are declared before the class's own.
        let order = columns.indices.sorted { (origins[$0], columns[$0]) < (origins[$1], columns[$1]) }
        let properties = order.map { position in
            let property = source.properties[columns[position]]
            return WMIOClass.Property(
                name: property.name,
                type: property.type,
                isArray: property.isArray,
                origin: origins[position],
                defaultValue: defaults[property.name] ?? .null,
                qualifiers: property.isKey ? [Self.key] : isPerformance ? [] : [Self.read]
            )
        }
        let wmiClass = WMIOClass(
            name: source.name,
            superclasses: ancestors.reversed().map(\.name),
            showsSuperclasses: plan.selectsAll || !quirks.hidesSuperclasses,
            qualifiers: [
                WMIOClass.Qualifier(name: "dynamic", value: .boolean(true), flavor: [.propagateToInstance]),
                WMIOClass.Qualifier(
                    name: "provider",
                    value: .string(isPerformance ? "WmiPerfInst" : "CIMWin32"),
                    flavor: [.propagateToInstance]
                ),
            ],
            properties: properties
        )
        return (wmiClass, order.map { columns[$0] })
    }

    private static let key = WMIOClass.Qualifier(
        name: "key",
        value: .boolean(true),
        flavor: [.propagateToInstance, .propagateToDerivedClass, .notOverridable]
    )
    private static let read = WMIOClass.Qualifier(
        name: "read",
        value: .boolean(true),
        flavor: [.propagateToInstance, .propagateToDerivedClass]
    )
}
