/// Interfaces and classes that this room speaks to. Object interfaces all have version 0.0.
extension RPCInterface {
    /// [MS-DCOM] 1.9
    package static let objectExporter = object("99fcfec4-5260-101b-bbcb-00aa0021347a")
    package static let remoteSCMActivator = object("000001a0-0000-0000-c000-000000000046")
    package static let remUnknown = object("00000131-0000-0000-c000-000000000046")
    package static let remUnknown2 = object("00000143-0000-0000-c000-000000000046")

    /// [MS-WMI] 1.9
    package static let wbemLevel1Login = object("f309ad18-d86a-11d0-a075-00c04fb68820")
    package static let wbemServices = object("9556dc99-828c-11cf-a37e-00aa003240c7")
    package static let enumWbemClassObject = object("027947e1-d731-11ce-a357-000000000001")
    package static let wbemFetchSmartEnum = object("1c1c45ee-4395-11d2-b60b-00104b703efd")
    package static let wbemWCOSmartEnum = object("423ec01e-2e35-11d2-b604-00104b703efd")
    package static let wbemClassObject = object("dc12a681-737f-11cf-884d-00aa004b2e24")

    private static func object(_ uuid: GUID) -> RPCInterface {
        RPCInterface(uuid)
    }
}

/// Class identifiers ([MS-DCOM] 1.9, [MS-WMI] 1.9).
package enum ClassID {
    package static let wbemLevel1Login: GUID = "8bc3f05e-d86b-11d0-a075-00c04fb68820"
    /// Unmarshals objects of WMI that travel by value.
    package static let wbemClassObject: GUID = "4590f812-1d3a-11d0-891f-00aa004b2e24"

    package static let activationPropertiesIn: GUID = "00000338-0000-0000-c000-000000000046"
    package static let activationPropertiesOut: GUID = "00000339-0000-0000-c000-000000000046"
    package static let specialSystemProperties: GUID = "000001b9-0000-0000-c000-000000000046"
    package static let instantiationInfo: GUID = "000001ab-0000-0000-c000-000000000046"
    package static let activationContextInfo: GUID = "000001a5-0000-0000-c000-000000000046"
    package static let securityInfo: GUID = "000001a6-0000-0000-c000-000000000046"
    package static let serverLocationInfo: GUID = "000001a4-0000-0000-c000-000000000046"
    package static let scmRequestInfo: GUID = "000001aa-0000-0000-c000-000000000046"
    package static let scmReplyInfo: GUID = "000001b6-0000-0000-c000-000000000046"
    /// Has the same value as ``activationPropertiesOut``.
    package static let propertiesOutput: GUID = "00000339-0000-0000-c000-000000000046"
}

/// Interface identifiers that only occur inside object references.
package enum InterfaceID {
    package static let activationPropertiesIn: GUID = "000001a2-0000-0000-c000-000000000046"
    package static let activationPropertiesOut: GUID = "000001a3-0000-0000-c000-000000000046"
}
