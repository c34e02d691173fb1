import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension WinRMError {
    /// Takes an error of connecting.
    package init(connectError error: any Error) {
        switch error {
        case let error as WinRMError:
            self = error
        case ChannelError.connectTimeout:
            self = .timedOut(.connecting)
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

    /// Takes an error of an established channel.
    init(channelError error: any Error, isReceiving: Bool) {
        switch error {
        case let error as WinRMError:
            self = error
        case let error as IOError:
            switch error.errnoCode {
            case ETIMEDOUT: self = .timedOut(.request)
            case EHOSTUNREACH, ENETUNREACH: self = .hostUnreachable(Self.text(error.errnoCode))
            // Before an answer has begun it is as good as closed: a host that restarted resets what it forgot.
            default: self = isReceiving ? .connectionReset(Self.text(error.errnoCode)) : .connectionClosed
            }
        case HTTPParserError.invalidEOFState, NIOSSLError.uncleanShutdown:
            self = isReceiving ? .connectionReset("the host closed it in the middle of an answer") : .connectionClosed
        case let error as NIOHTTPDecoderError where error == .unsolicitedResponse:
            self = .protocolViolation("an answer that nobody asked for")
        case let error as HTTPParserError:
            self = .protocolViolation("not HTTP: \(error)")
        case is ChannelError:
            self = .connectionClosed
        default:
            self = .connectionReset("\(type(of: error))")
        }
    }

    private static func text(_ code: CInt) -> String {
        String(cString: strerror(code))
    }
}
