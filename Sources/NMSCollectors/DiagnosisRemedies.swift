package import Foundation
package import NMSCore

/// What a host's certificate says.
package struct CertificateFacts: Sendable, Equatable {
    package var subject: String
    package var issuer: String
    package var names: [String]
    package var notBefore: Date
    package var notAfter: Date
    package var isSelfSigned: Bool
    /// SHA-256 in hexadecimal.
    package var fingerprint: String

    package init(
        subject: String,
        issuer: String,
        names: [String],
        notBefore: Date,
        notAfter: Date,
        isSelfSigned: Bool,
        fingerprint: String
    ) {
        self.subject = subject
        self.issuer = issuer
        self.names = names
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.isSelfSigned = isSelfSigned
        self.fingerprint = fingerprint
    }
}

/// What is known of a failure beside its code, where the remedy depends on it.
package enum DiagnosisReason: Sendable, Equatable {
    case certificateExpired
    case certificateNotYetValid
    case certificateUntrusted
    case certificateNames(expected: [String], presented: [String])
    case certificateUnreadable
    /// `winrm.ca_file` cannot be read.
    case authorityFile(String)
    case handshake
    /// None of the schemes that the host offers fits the credential's type.
    case schemes(offered: [String])
    /// NMSlite does not send a password over plain HTTP; the host was not asked.
    case passwordWithheld
    case httpStatus(Int)
    /// The host lets nothing be activated from remote.
    case dcomDisabled
}

/// Where something failed, for whom.
package struct RemedyContext: Sendable, Equatable {
    /// nil for a code on its own, as in a device's `last_error`.
    package var stage: DiagnosisStage.Kind?
    /// The class that was asked for.
    package var className: String?
    package var type: CredentialType
    package var useSSL: Bool
    package var port: Int
    package var tlsVerify: TLSVerification
    /// `DOMAIN\user` or `user`.
    package var account: String
    package var credentialID: Int
    package var reason: DiagnosisReason?
    package var certificate: CertificateFacts?

    package init(_ credential: Credential, stage: DiagnosisStage.Kind? = nil) {
        self.stage = stage
        self.type = credential.type
        self.useSSL = credential.useSSL
        self.port = credential.effectivePort
        self.tlsVerify = credential.tlsVerify
        self.account = credential.domain.map { "\($0)\\\(credential.username)" } ?? credential.username
        self.credentialID = credential.id
    }

    var isDCOM: Bool { self.type == .wmi }
}

/// What to do about a failure: one table for the diagnosis, the command line and the documentation.
///
/// Written for who administers the Windows machine. Commands run on that machine in an elevated cmd.exe unless the text
/// says PowerShell.
package enum Remedies {
    /// Windows' dynamic ports (since Windows Vista).
    static let dynamicPorts = "49152-65535"

    /// One to three sentences, for every code.
    package static func text(_ code: PollErrorCode, _ context: RemedyContext) -> String {
        switch code {
        case .timeout: self.timeout(context)
        case .connectionRefused: self.refused(context)
        case .connectionReset: self.reset(context)
        case .hostUnreachable:
            "Check that the address is right, the host is on, and that there is a route to it from the NMSlite server "
                + "(`ping`, `tracert`)."
        case .tlsFailed: self.tls(context)
        case .authFailed: self.authentication(context)
        case .credentialSuspended:
            "Earlier sign-ins failed, and more could lock the account. Correct the password with "
                + "PUT /api/v1/credentials/\(context.credentialID), or, if it is right by now, resume with "
                + "POST /api/v1/credentials/\(context.credentialID)/resume."
        case .accessDenied: self.access(context)
        case .encryptionRequired: self.encryption(context)
        case .quotaExceeded: self.quota(context)
        case .wmiError:
            "WMI on the host is in trouble: look at the event log Microsoft-Windows-WMI-Activity/Operational, check the "
                + "repository with `winmgmt /verifyrepository`, and restart WMI with PowerShell "
                + "`Restart-Service Winmgmt -Force`."
        case .countersMissing: self.counters(context)
        case .responseTooLarge:
            "The host sends far more than a Windows machine has to say. Check that the address is a Windows host's and "
                + "not a proxy's, and how many instances the class has there (PowerShell `Get-CimInstance "
                + "\(context.className ?? "Win32_PerfRawData_Tcpip_NetworkInterface") | Measure-Object`)."
        case .protocolError: self.protocolError(context)
        }
    }

    /// For a host whose clock is off: nothing fails by that alone.
    static let clock =
        "The host's clock is wrong, which breaks certificates and domain logons: check `w32tm /query /status` on the "
        + "host and correct it with `w32tm /resync`. If the host's is right, correct the NMSlite server's."

    /// For a certificate that ends soon.
    static let renewal =
        "Polls will fail when the certificate ends: renew it on the host and give the new thumbprint to the HTTPS "
        + "listener (`winrm set winrm/config/Listener?Address=*+Transport=HTTPS @{CertificateThumbprint=\"…\"}`)."

    // MARK: - The way to the host

    private static func timeout(_ context: RemedyContext) -> String {
        switch context.stage {
        case nil, .tcp?:
            return
                "Nothing came back from TCP port \(context.port): the host is off, the address is wrong, or a firewall "
                + "drops the packets. " + self.openFirewall(context)
        case .exporter?:
            return self.dynamicPort
        case .tls?:
            return
                "The port accepts connections but nobody answers TLS there. Check on the host that an HTTPS listener "
                + "has this port (`winrm enumerate winrm/config/listener`) and restart the service with "
                + "`net stop winrm && net start winrm`."
        case .identify? where context.isDCOM, .authenticate? where context.isDCOM:
            return "The port is open but RPC does not answer. Check the host's load and its services RpcSs and "
                + "DcomLaunch, which only a restart of Windows restarts; for a domain account also the way to a domain "
                + "controller (`nltest /sc_query:DOMAIN`)."
        case .identify?, .authenticate?:
            return "The port is open but WinRM does not answer. Check the host's load and the event log "
                + "Microsoft-Windows-WinRM/Operational, restart the service with `net stop winrm && net start winrm`; "
                + "for a domain account check the way to a domain controller (`nltest /sc_query:DOMAIN`)."
        case .namespace?, .class?:
            return "The host signs in but WMI answers too slowly for this test, which takes ten seconds in all; a poll "
                + "may wait longer (polling.timeout). Try again in a minute, as counters stall while a service "
                + "restarts; if it stays, look at the host's load and at the event log "
                + "Microsoft-Windows-WMI-Activity/Operational, and restart WMI with PowerShell "
                + "`Restart-Service Winmgmt -Force`."
        }
    }

    private static func refused(_ context: RemedyContext) -> String {
        if context.stage == .exporter { return self.dynamicPort }
        guard !context.isDCOM else {
            return "Every Windows machine listens on port 135, so this one is no Windows host, a firewall refuses for "
                + "it, or the credential's port (\(context.port)) is wrong. " + self.openFirewall(context)
        }
        let listeners =
            "Check the listeners with `winrm enumerate winrm/config/listener` and compare the credential's port."
        guard context.useSSL else {
            return "Nothing listens on port \(context.port). On the host run `winrm quickconfig`, which starts the "
                + "service and makes a listener for HTTP on port 5985. " + listeners
        }
        return
            "Nothing listens on port \(context.port). On the host run `winrm quickconfig -transport:https`, which needs "
            + "a certificate for server authentication in the name of the host. " + listeners
    }

    private static func reset(_ context: RemedyContext) -> String {
        switch context.stage {
        case .namespace?, .class?:
            return "The host ended the connection in the middle of an answer. Check whether the service was restarted "
                + "or the host shut down (event log System), and what stands in between: firewalls and proxies that "
                + "inspect traffic cut connections this way."
        default:
            let filter =
                context.isDCOM
                ? "that no firewall in between inspects and drops RPC"
                : "that WinRM listens on this address (the policy `IPv4Filter` of `winrm get winrm/config/service`, and "
                    + "`netsh http show iplisten`), and that use_ssl fits the listener"
            return "Something accepts connections on port \(context.port) and ends them at once. Check \(filter)."
        }
    }

    private static let dynamicPort =
        "WMI's own port, one of \(Self.dynamicPorts), cannot be reached. Enable the rule \"Windows Management "
        + "Instrumentation (WMI-In)\" beside \"(DCOM-In)\" on the host (`netsh advfirewall firewall set rule "
        + "group=\"windows management instrumentation (wmi)\" new enable=yes`) and open the ports in firewalls in "
        + "between, or give WMI one fixed port there (`winmgmt /standalonehost`, then restart the service Winmgmt). "
        + "Hosts with WinRM need none of that: a winrm_ntlm credential uses a single port."

    private static func openFirewall(_ context: RemedyContext) -> String {
        if context.isDCOM {
            return "On the host enable the rules of WMI, such as \"Windows Management Instrumentation (DCOM-In)\": "
                + "`netsh advfirewall firewall set rule group=\"windows management instrumentation (wmi)\" new "
                + "enable=yes`."
        }
        if !context.useSSL, context.port == CredentialType.winrmNTLM.defaultPort(useSSL: false) {
            return
                "On the host run `winrm quickconfig`, which starts the service and enables the rule \"Windows Remote "
                + "Management (HTTP-In)\"; on public networks that rule lets in the local subnet only."
        }
        return
            "On the host allow the port, for which Windows has no rule of its own: `netsh advfirewall firewall add rule "
            + "name=\"WinRM \(context.port)\" dir=in action=allow protocol=TCP localport=\(context.port)`."
    }

    // MARK: - TLS

    private static func tls(_ context: RemedyContext) -> String {
        switch context.reason {
        case .certificateExpired?:
            return "Renew the certificate on the host and give its thumbprint to the HTTPS listener (`winrm set "
                + "winrm/config/Listener?Address=*+Transport=HTTPS @{CertificateThumbprint=\"…\"}`). "
                + "Until then only tls_verify \"none\" on the credential lets polls through, unprotected."
        case .certificateNotYetValid?:
            return "The certificate's time has not begun. " + self.clock
        case .certificateUntrusted? where context.certificate?.isSelfSigned == true:
            return
                "The certificate is self-signed. Export it from the host without its key as Base-64 (PEM), append it "
                + "to the file of winrm.ca_file and restart NMSlite, or replace it by one of your own authority; "
                + "tls_verify \"none\" on the credential gives up the check."
        case .certificateUntrusted?:
            let issuer = context.certificate.map { " (\($0.issuer))" } ?? ""
            return "NMSlite does not know the authority that issued the certificate\(issuer). Append the authority's "
                + "certificate as PEM to the file of winrm.ca_file and restart NMSlite; if the host sends an "
                + "intermediate's certificate without its chain, append that as well."
        case .certificateNames(let expected, let presented)?:
            let names = presented.isEmpty ? "no name" : presented.joined(separator: ", ")
            let first = presented.first { !$0.contains("*") && IPAddress($0) == nil }
            return "The certificate is for \(names), the device is known as \(expected.joined(separator: " and ")). "
                + (first.map { "Set the device's hostname to \($0) if that is its name, issue" } ?? "Issue")
                + " a certificate that names the device, or set tls_verify to \"chain\" on the credential."
        case .certificateUnreadable?:
            return
                "Give the HTTPS listener of the host a certificate for server authentication with an RSA or ECDSA key "
                + "(`winrm enumerate winrm/config/listener` shows its thumbprint)."
        case .authorityFile(let path)?:
            return "Correct winrm.ca_file on the NMSlite server: \(path) must be readable and hold certificates as PEM."
        case .handshake?, nil, _?:
            return "Check that the port's listener is HTTPS (`winrm enumerate winrm/config/listener`; without TLS turn "
                + "use_ssl off and use port 5985), that TLS 1.2 is enabled for servers in SChannel, and that the "
                + "listener's certificate is still in the store with its private key."
        }
    }

    // MARK: - Signing in

    private static func authentication(_ context: RemedyContext) -> String {
        let start =
            "Check user, domain and password of the credential (\(context.account)); each further try counts towards "
            + "the account's lock-out. "
        if context.type == .winrmBasic {
            return start
                + "Basic takes local accounts of the host only, without a domain; use winrm_ntlm for a domain's."
        }
        let binding =
            context.useSSL
            ? " Behind a proxy that ends TLS itself, `winrm get winrm/config/service/auth` must show CbtHardeningLevel "
                + "other than Strict." : ""
        return start
            + "If they are right: the account may be locked, disabled or expired (`net user NAME /domain`), be a member of "
            + "Protected Users, which may not use NTLM, or NTLM may be denied by the policy \"Network security: Restrict "
            + "NTLM\"; clocks of host and domain controller that differ also refuse it (`w32tm /query /status`)."
            + binding
    }

    private static func access(_ context: RemedyContext) -> String {
        let account = context.account
        let local =
            " A local account other than the built-in Administrator that is an administrator also needs "
            + "LocalAccountTokenFilterPolicy=1 (`reg add "
            + "HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Policies\\System /v LocalAccountTokenFilterPolicy "
            + "/t REG_DWORD /d 1`)."
        let namespace =
            "Grant \(account) the rights \"Enable Account\" and \"Remote Enable\" on Root\\CIMV2: wmimgmt.msc, WMI Control, "
            + "Properties, Security."
        switch context.stage {
        case .authenticate? where context.isDCOM:
            return
                "The password is right, but the user may not activate DCOM objects from remote. Add \(account) to the "
                + "group (`net localgroup \"Distributed COM Users\" \(account) /add`), or grant Remote Launch and Remote "
                + "Activation: dcomcnfg, My Computer, Properties, COM Security, Launch and Activation Permissions, Edit "
                + "Limits." + local
        case .exporter?:
            return "The password is right, but the user may not call DCOM objects from remote. Grant \(account) Remote "
                + "Access: dcomcnfg, My Computer, Properties, COM Security, Access Permissions, Edit Limits; members of "
                + "\"Distributed COM Users\" have it."
        case .namespace? where context.isDCOM:
            return namespace + local
        case .class?:
            return namespace + " Counter classes also want membership in \"Performance Monitor Users\" "
                + "(`net localgroup \"Performance Monitor Users\" \(account) /add`)."
        case nil where context.isDCOM:
            return "Add \(account) to the group \"Distributed COM Users\". " + namespace + local
        default:
            return "The password is right, but the user may not use WinRM or WMI. Add \(account) to the group (`net "
                + "localgroup \"Remote Management Users\" \(account) /add`). " + namespace + local
        }
    }

    private static func encryption(_ context: RemedyContext) -> String {
        let better = "Set use_ssl on the credential (port 5986), or its type to winrm_ntlm, which encrypts over HTTP."
        guard context.reason == .passwordWithheld else {
            return "The host refuses unencrypted requests, as Windows does by default. " + better
                + " Only where the network is safe, run `winrm set winrm/config/service @{AllowUnencrypted=\"true\"}` there."
        }
        return "NMSlite has not sent the password, which Basic over HTTP shows to everyone on the way. " + better
            + " Only where the network is safe, set allow_unencrypted_basic on the credential."
    }

    // MARK: - What answers

    private static func quota(_ context: RemedyContext) -> String {
        if context.isDCOM {
            return
                "WMI on the host has reached a limit of memory, handles or queries. Look for other programs that ask "
                + "much (event log Microsoft-Windows-WMI-Activity/Operational), restart WMI with PowerShell "
                + "`Restart-Service Winmgmt -Force`, or raise the limits of `__ProviderHostQuotaConfiguration` in the "
                + "namespace root."
        }
        return
            "The account has too many operations open on the host. Look for other programs that use the same account, "
            + "and raise the limit: `winrm set winrm/config/service @{MaxConcurrentOperationsPerUser=\"3000\"}` (the "
            + "default is 1500); restarting the service (`net stop winrm && net start winrm`) ends stale operations."
    }

    private static func counters(_ context: RemedyContext) -> String {
        let name = context.className
        if let name, !name.contains("PerfRawData") {
            return "WMI on the host lacks \(name), or it has no usable instance. Check the repository with `winmgmt "
                + "/verifyrepository`, repair it with `winmgmt /salvagerepository`, and try `Get-CimInstance \(name)` "
                + "in PowerShell."
        }
        return "Rebuild the performance counters on the host: `lodctr /R` in C:\\Windows\\System32 and again in "
            + "C:\\Windows\\SysWOW64, then `winmgmt /resyncperf`, then PowerShell `Restart-Service Winmgmt -Force`. If "
            + "the class has no instances for this user only, add \(context.account) to \"Performance Monitor Users\"."
    }

    private static func protocolError(_ context: RemedyContext) -> String {
        switch context.reason {
        case .schemes(let offered)?:
            let list = offered.isEmpty ? "no authentication" : offered.joined(separator: ", ")
            if context.type == .winrmBasic {
                return
                    "The host offers \(list), but not Basic. Set the credential's type to winrm_ntlm, or allow Basic: "
                    + "`winrm set winrm/config/service/auth @{Basic=\"true\"}`."
            }
            return "The host offers \(list), but not Negotiate. Allow it: `winrm set winrm/config/service/auth "
                + "@{Negotiate=\"true\"}`."
        case .httpStatus(let status)?:
            return
                "The port answers with HTTP status \(status), so perhaps it is not WinRM's, or a proxy stands before "
                + "it. Compare the credential's port with `winrm enumerate winrm/config/listener`; its URLPrefix must "
                + "be wsman."
        case .dcomDisabled?:
            return "The host does not let objects be activated from remote. Switch DCOM on: dcomcnfg, My Computer, "
                + "Properties, Default Properties, \"Enable Distributed COM on this computer\", then restart Windows."
        default:
            break
        }
        guard !context.isDCOM else {
            return
                "What answers on port \(context.port) does not speak RPC with NTLM as Windows does. Check that the port is "
                + "the RPC endpoint mapper's (135), that the policy \"Network security: Restrict NTLM\" does not deny it, "
                + "and that nothing in between changes the traffic."
        }
        return
            "What answers on port \(context.port) does not speak WS-Management as Windows does. Check that the port is "
            + "WinRM's (`winrm enumerate winrm/config/listener`), that use_ssl fits its transport, and that no proxy "
            + "stands in between."
    }
}
