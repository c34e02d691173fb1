internal import Foundation
package import NMSCore

/// Who a Windows machine says it is to someone who has signed in.
package struct WindowsIdentity: Sendable, Equatable {
    /// DNS name, with the domain where the host is a member of one.
    package var hostname: String?
    /// DNS name of the domain, or the name of the workgroup.
    package var domain: String?
    /// Caption, such as `Microsoft Windows Server 2022 Standard`.
    package var os: String?
    /// Such as `10.0.20348`.
    package var version: String?
    /// Such as `20348`.
    package var build: String?

    package init() {}
}

/// Asks a Windows machine who it is, once.
package protocol WindowsIdentifier: Sendable {
    /// Whether it signs in the way `type` says.
    func supports(_ type: CredentialType) -> Bool

    /// Connects, signs in through the target's gate, asks and closes. The device's number is only handed to the gate.
    ///
    /// - Throws: ``PollFailure``, or `CancellationError`.
    func identify(_ target: CollectorTarget) async throws -> WindowsIdentity
}

extension WindowsCollector {
    package func identify(_ target: CollectorTarget) async throws -> WindowsIdentity {
        let poll = WindowsPoll(collector: self, target: target, warm: nil)
        do {
            let identity = try await poll.identity()
            await poll.close()
            return identity
        } catch {
            await poll.close()
            throw error
        }
    }
}

extension WinRMCollector: WindowsIdentifier {}
extension WMICollector: WindowsIdentifier {}

extension WindowsPoll {
    /// A host that tells only one of both is identified all the same.
    fileprivate func identity() async throws -> WindowsIdentity {
        var identity = WindowsIdentity()
        guard let system = try await self.identityRows(of: WindowsQueries.operatingSystemIdentity).first else {
            throw PollFailure(.wmiError, "Win32_OperatingSystem has no instance")
        }
        identity.os = system.string("Caption").map(WindowsQueries.trimmed)
        identity.version = system.string("Version")
        identity.build = system.string("BuildNumber")
        if let rows = try? await self.identityRows(of: WindowsQueries.computerSystem) {
            identity.hostname = WindowsQueries.hostname(rows)
            identity.domain = rows.first?.string("Domain")
        }
        return identity
    }
}

extension WindowsQueries {
    fileprivate static let operatingSystemIdentity = "SELECT Caption, Version, BuildNumber FROM Win32_OperatingSystem"
}
