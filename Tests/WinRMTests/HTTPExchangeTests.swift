import NIOCore
import NIOHTTP1
import Testing

@testable import WinRM

@Suite struct HTTPExchangeTests {
    private static func head(_ status: HTTPResponseStatus = .ok, _ headers: HTTPHeaders = [:]) -> HTTPResponseHead {
        HTTPResponseHead(version: .http1_1, status: status, headers: headers)
    }

    private static func feed(_ exchange: inout HTTPExchange, _ text: String) -> HTTPExchange.Action {
        var buffer = ByteBuffer(string: text)
        return exchange.received(&buffer)
    }

    private static func failure(_ action: HTTPExchange.Action) -> WinRMError? {
        if case .complete(.failure(let error), close: true) = action { error } else { nil }
    }

    private static func isNone(_ action: HTTPExchange.Action) -> Bool {
        if case .none = action { true } else { false }
    }

    private static func isClose(_ action: HTTPExchange.Action) -> Bool {
        if case .close = action { true } else { false }
    }

    @Test func completesRequestsOneAfterTheOther() throws {
        var exchange = HTTPExchange(maximumBytes: 100)
        for round in 0..<3 {
            let refusal = exchange.begin()
            #expect(refusal == nil)
            #expect(Self.isNone(exchange.received(Self.head(.internalServerError, ["X": "\(round)"]))))
            #expect(Self.isNone(Self.feed(&exchange, "ab")))
            #expect(Self.isNone(Self.feed(&exchange, "c")))
            guard case .complete(.success(let reply), close: false) = exchange.receivedEnd() else {
                Issue.record("not complete")
                return
            }
            #expect(reply.status == 500)
            #expect(reply.headers["X"] == ["\(round)"])
            #expect(reply.bodyBytes == "abc".bytes)
        }
    }

    @Test func closesWhenTheHostWantsIt() {
        var exchange = HTTPExchange(maximumBytes: 100)
        _ = exchange.begin()
        _ = exchange.received(Self.head(.unauthorized, ["Connection": "close"]))
        guard case .complete(.success, close: true) = exchange.receivedEnd() else {
            Issue.record("still open")
            return
        }
        #expect(exchange.begin() == .connectionClosed)
    }

    @Test func refusesASecondRequestInFlight() {
        var exchange = HTTPExchange(maximumBytes: 100)
        #expect(exchange.begin() == nil)
        guard case .misuse? = exchange.begin() else {
            Issue.record("accepted")
            return
        }
        _ = exchange.received(Self.head())
        guard case .misuse? = exchange.begin() else {
            Issue.record("accepted")
            return
        }
        guard case .complete(.success, close: false) = exchange.receivedEnd() else {
            Issue.record("the first request was lost")
            return
        }
    }

    @Test func boundsBodies() {
        var announced = HTTPExchange(maximumBytes: 4)
        _ = announced.begin()
        #expect(
            Self.failure(announced.received(Self.head(.ok, ["Content-Length": "5"]))) == .responseTooLarge(limit: 4)
        )
        var chunked = HTTPExchange(maximumBytes: 4)
        _ = chunked.begin()
        #expect(Self.isNone(chunked.received(Self.head())))
        #expect(Self.isNone(Self.feed(&chunked, "abcd")))
        #expect(Self.failure(Self.feed(&chunked, "e")) == .responseTooLarge(limit: 4))
        #expect(chunked.begin() == .responseTooLarge(limit: 4))
        #expect(Self.isNone(chunked.receivedEnd()))
    }

    @Test func tellsAClosedFromABrokenConnection() {
        var idle = HTTPExchange(maximumBytes: 4)
        #expect(Self.isNone(idle.closed()))
        #expect(idle.begin() == .connectionClosed)
        var waiting = HTTPExchange(maximumBytes: 4)
        _ = waiting.begin()
        #expect(Self.failure(waiting.closed()) == .connectionClosed)
        var receiving = HTTPExchange(maximumBytes: 4)
        _ = receiving.begin()
        _ = receiving.received(Self.head())
        guard case .connectionReset? = Self.failure(receiving.closed()) else {
            Issue.record("no reset")
            return
        }
    }

    @Test func keepsTheFirstFailure() {
        var exchange = HTTPExchange(maximumBytes: 4)
        _ = exchange.begin()
        #expect(Self.failure(exchange.fail(.timedOut(.request))) == .timedOut(.request))
        #expect(Self.isNone(exchange.fail(.connectionRefused)))
        #expect(Self.isNone(exchange.closed()))
        #expect(exchange.begin() == .timedOut(.request))
    }

    @Test func refusesAnswersThatNobodyAskedFor() {
        var exchange = HTTPExchange(maximumBytes: 4)
        #expect(Self.isClose(exchange.received(Self.head())))
        guard case .protocolViolation? = exchange.begin() else {
            Issue.record("still usable")
            return
        }
    }
}
