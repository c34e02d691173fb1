import NIOCore
import NIOEmbedded
import NIOTestUtils
import Testing

@testable import DCOM

@Suite("Framing of DCE/RPC") struct RPCFragmentDecoderTests {
    @Test func `Byte by byte, in pieces and all at once, the same fragments come out`() throws {
        let fragments = RPCPDUTests.examples.map { $0.encoded() }
        try ByteToMessageDecoderVerifier.verifyDecoder(
            inputOutputPairs: try fragments.map { (ByteBuffer(bytes: $0), [try RPCFragment($0)]) }
                + [(ByteBuffer(bytes: fragments.joined()), try fragments.map { try RPCFragment($0) })]
        ) {
            RPCFragmentDecoder()
        }
    }

    @Test func `A bad header is refused before the rest arrives`() throws {
        let good = RPCPDUTests.examples[0].encoded()
        let changes: [(offset: Int, value: UInt8, error: RPCDecodingError)] = [
            (0, 6, .version(major: 6, minor: 0)),
            (4, 0, .dataRepresentation(0, 0)),
            (2, 99, .type(99)),
            (9, 0xFF, .fragmentLength(0xFF00 | Int(good[8]), limit: 5840)),
        ]
        for (offset, value, error) in changes {
            let channel = EmbeddedChannel(handler: ByteToMessageHandler(RPCFragmentDecoder()))
            var bytes = Array(good[..<RPCHeader.size])
            bytes[offset] = value
            #expect(throws: error) { try channel.writeInbound(ByteBuffer(bytes: bytes)) }
            _ = try? channel.finish(acceptAlreadyClosed: true)
        }
    }

    @Test func `A fragment shorter than its header is refused`() throws {
        let channel = EmbeddedChannel(handler: ByteToMessageHandler(RPCFragmentDecoder()))
        var bytes = RPCPDU(.shutdown, callID: 1).encoded()
        bytes[8] = 15
        #expect(throws: RPCDecodingError.fragmentLength(15, limit: 5840)) {
            try channel.writeInbound(ByteBuffer(bytes: bytes))
        }
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }
}
