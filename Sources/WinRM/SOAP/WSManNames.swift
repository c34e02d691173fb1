/// Namespaces, actions and other names of WS-Management ([DSP0226]) and of its Windows extensions ([MS-WSMV]).
package enum WSManNames {
    // MARK: Namespaces

    package static let soap = XMLNamespace("http://www.w3.org/2003/05/soap-envelope")
    package static let addressing = XMLNamespace("http://schemas.xmlsoap.org/ws/2004/08/addressing")
    package static let enumeration = XMLNamespace("http://schemas.xmlsoap.org/ws/2004/09/enumeration")
    package static let wsman = XMLNamespace("http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd")
    package static let microsoftWSMan = XMLNamespace("http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd")
    package static let identity = XMLNamespace("http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd")
    package static let wsmanFault = XMLNamespace("http://schemas.microsoft.com/wbem/wsman/1/wsmanfault")
    /// Carries `Datetime` and other composite CIM types ([DSP0230]).
    package static let cim = XMLNamespace("http://schemas.dmtf.org/wbem/wscim/1/common")

    // MARK: Actions

    package static let enumerateAction = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate"
    package static let enumerateResponseAction = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/EnumerateResponse"
    package static let pullAction = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Pull"
    package static let pullResponseAction = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/PullResponse"
    package static let releaseAction = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Release"
    package static let releaseResponseAction = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/ReleaseResponse"
    package static let faultAction = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"

    // MARK: Others

    package static let anonymousAddress = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"
    /// The filter dialect of WQL ([MS-WSMV] 2.2.3.11).
    package static let wqlDialect = "http://schemas.microsoft.com/wbem/wsman/1/WQL"
    /// Classes of a WMI namespace lie below this ([MS-WSMV] 2.2.3.9).
    package static let wmiResourcePrefix = "http://schemas.microsoft.com/wbem/wsman/1/wmi/"

    /// The resource URI of all classes of a WMI namespace, as a WQL enumeration addresses them.
    ///
    /// - Parameter namespace: with `/` or `\` between its parts, for example `root/cimv2`.
    package static func allClasses(of namespace: String) -> String {
        Self.wmiResourcePrefix + String(namespace.map { $0 == "\\" ? "/" : $0 }) + "/*"
    }
}
