import NIOCore

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

extension Channel {
    /// Closes the connection with RST instead of FIN.
    func reset() {
        guard let socket = self as? any SocketOptionProvider else {
            self.close(promise: nil)
            return
        }
        socket.setSoLinger(linger(l_onoff: 1, l_linger: 0)).whenComplete { _ in self.close(promise: nil) }
    }
}

/// Takes everything in and answers nothing.
final class BlackHoleHandler: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {}
}
