package import NIOCore
internal import NIOPosix
package import NMSCore
internal import WinRM

/// The ``ReachProbe`` over TCP.
package struct TCPReachProbe: ReachProbe {
    private let group: any EventLoopGroup

    /// - Parameter eventLoopGroup: the event loops; they must be those of NIOPosix.
    package init(eventLoopGroup: any EventLoopGroup) { self.group = eventLoopGroup }

    package func probe(_ address: IPAddress, port: Int, limit: Duration) async -> ReachAnswer {
        do {
            let target = try SocketAddress(ipAddress: address.description, port: port)
            let channel = try await ClientBootstrap(group: self.group)
                .connectTimeout(TimeAmount(limit))
                .connect(to: target)
                .get()
            try? await channel.close()
            return .open
        } catch {
            switch WinRMError(connectError: error) {
            case .connectionRefused: return .refused
            case .timedOut: return .silent
            case .localShortage(let why): return .localShortage(why)
            case let error: return .unreachable(error.description)
            }
        }
    }
}
