package import NIOCore

/// Cuts a stream of bytes into PDUs.
///
/// Holds no more than one fragment: a length over the limit is refused as soon as the header is there. Throws
/// ``RPCDecodingError``, after which nothing more can be read.
package struct RPCFragmentDecoder: ByteToMessageDecoder {
    package typealias InboundOut = RPCFragment

    private let maximumFragment: Int

    /// - Parameter maximumFragment: what this side announced as the longest fragment that it takes, in bytes.
    package init(maximumFragment: Int = RPCFragment.defaultMaximum) {
        self.maximumFragment = maximumFragment
    }

    package mutating func decode(context: ChannelHandlerContext, buffer: inout ByteBuffer) throws -> DecodingState {
        guard let fragment = try self.next(&buffer) else { return .needMoreData }
        context.fireChannelRead(NIOAny(fragment))
        return .continue
    }

    package mutating func decodeLast(
        context: ChannelHandlerContext,
        buffer: inout ByteBuffer,
        seenEOF: Bool
    ) throws -> DecodingState {
        let state = try self.decode(context: context, buffer: &buffer)
        guard state == .continue || !seenEOF || buffer.readableBytes == 0 else {
            // Half an answer: the call must not be taken for one that the host never began to answer.
            throw ByteToMessageDecoderError.leftoverDataWhenDone(buffer)
        }
        return state
    }

    /// The next whole PDU; nil when more bytes are needed.
    package func next(_ buffer: inout ByteBuffer) throws(RPCDecodingError) -> RPCFragment? {
        guard buffer.readableBytes >= RPCHeader.size else { return nil }
        let header = try RPCHeader(
            buffer.readableBytesView.prefix(RPCHeader.size),
            maximumFragment: self.maximumFragment
        )
        guard let bytes = buffer.readBytes(length: Int(header.fragmentLength)) else { return nil }
        return try RPCFragment(bytes, maximumFragment: self.maximumFragment)
    }
}
