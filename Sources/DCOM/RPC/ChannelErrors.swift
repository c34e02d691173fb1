import NIOCore
import NIOPosix

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension RPCError {
    /// Takes an error of connecting.
    init(connectError error: any Error) {
        switch error {
        case let error as RPCError:
            self = error
        case ChannelError.connectTimeout:
            self = .timedOut(.connecting)
        case is CancellationError:
            self = .cancelled
        case let error as IOError:
            switch error.errnoCode {
            case ECONNREFUSED: self = .connectionRefused
            case ETIMEDOUT: self = .timedOut(.connecting)
            case ECONNRESET, ECONNABORTED, EPIPE: self = .connectionReset(Self.text(error.errnoCode))
            // Not the host's doing: connect(2) and socket(2) say so of this process and this machine.
            case EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL:
                self = .localShortage(Self.text(error.errnoCode))
            default: self = .hostUnreachable(Self.text(error.errnoCode))
            }
        default:
            self = .hostUnreachable("\(type(of: error))")
        }
    }

    /// Takes an error of an established channel; nil for one that says no more than that the connection is gone, as
    /// when a host that restarted resets what it forgot.
    init?(channelError error: any Error) {
        switch error {
        case let error as RPCError:
            self = error
        case let error as RPCDecodingError:
            self = .protocolViolation(error.description)
        case let error as IOError:
            switch error.errnoCode {
            case ETIMEDOUT: self = .timedOut(.call)
            case EHOSTUNREACH, ENETUNREACH: self = .hostUnreachable(Self.text(error.errnoCode))
            default: return nil
            }
        case is ByteToMessageDecoderError:
            self = .connectionReset("the host closed it in the middle of an answer")
        case is ChannelError:
            return nil
        default:
            self = .connectionReset("\(type(of: error))")
        }
    }

    private static func text(_ code: CInt) -> String {
        String(cString: strerror(code))
    }
}
