/// A port that a host may have open.
package enum HostPort: String, Sendable, Hashable, CaseIterable {
    case winrm
    case winrms
    /// The resolver of objects, and with it their dynamic port.
    case dcom
    /// Only decoys have it.
    case smb
}

/// A host that is no Windows machine; the raw value is its name in a fault file.
package enum Decoy: String, Sendable, Hashable, CaseIterable {
    /// A web server at WinRM's ports.
    case webServer = "not_windows_http"
    /// An SSH server at WinRM's HTTP port.
    case sshServer = "ssh_banner"
    /// Accepts connections at every port and says nothing.
    case tarPit = "tar_pit"
    /// A WS-Management server of another vendor, as OMI on Linux.
    case otherWSMan = "other_wsman"
    /// Port 445 and nothing else, as Samba.
    case samba = "samba_only"

    var openPorts: Set<HostPort> {
        switch self {
        case .webServer, .otherWSMan: [.winrm, .winrms]
        case .sshServer: [.winrm]
        case .tarPit: [.winrm, .winrms, .dcom]
        case .samba: [.smb]
        }
    }
}

/// How a port answers connects.
enum PortMode: Sendable, Hashable {
    case open
    case closed
    /// SYNs are dropped.
    case silent
}
