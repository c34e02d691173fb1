import NMSCore
import Postgres
import Testing

@testable import NMSStorage

@Suite struct BatchBufferTests {
    @Test(.timeLimit(.minutes(1))) func aFullBatchComesAtOnce() async {
        let clock = ManualClock()
        let buffer = BatchBuffer<Int>(size: 3, delay: .seconds(1), clock: clock)
        for element in 1...7 { buffer.append(element) }
        #expect(await buffer.next() == [1, 2, 3])
        #expect(await buffer.next() == [4, 5, 6])
        #expect(buffer.elements == [7])
    }

    @Test(.timeLimit(.minutes(1))) func aPartBatchComesAfterItsTime() async {
        let clock = ManualClock()
        let buffer = BatchBuffer<Int>(size: 3, delay: .seconds(1), clock: clock)
        async let batch = buffer.next()
        buffer.append(1)
        await clock.waitForSleepers()
        buffer.append(2)
        clock.advance(by: .seconds(1))
        #expect(await batch == [1, 2])
    }

    @Test(.timeLimit(.minutes(1))) func aBatchThatFillsUpDoesNotWait() async {
        let clock = ManualClock()
        let buffer = BatchBuffer<Int>(size: 2, delay: .seconds(1), clock: clock)
        async let batch = buffer.next()
        buffer.append(1)
        await clock.waitForSleepers()
        buffer.append(2)
        #expect(await batch == [1, 2])
    }

    @Test(.timeLimit(.minutes(1))) func theRestComesAtTheEnd() async {
        let buffer = BatchBuffer<Int>(size: 2, delay: .seconds(1), clock: ManualClock())
        for element in 1...3 { buffer.append(element) }
        buffer.finish()
        buffer.append(4)
        #expect(await buffer.next() == [1, 2])
        #expect(await buffer.next() == [3])
        #expect(await buffer.next() == nil)
    }

    @Test(.timeLimit(.minutes(1))) func cancellingEndsTheWait() async {
        let buffer = BatchBuffer<Int>(size: 2, delay: .seconds(1), clock: ManualClock())
        let task = Task { await buffer.next() }
        task.cancel()
        #expect(await task.value == nil)
    }
}

@Suite struct WriteFailureTests {
    @Test func blameFollowsTheErrorsClass() {
        func failure(_ state: String, constraint: String? = nil) -> WriteFailure {
            WriteFailure(
                PostgresError.server(
                    PostgresServerError(sqlState: SQLState(rawValue: state), message: "m", constraint: constraint)
                )
            )
        }
        for state in ["22003", "22021", "23503", "23505"] { #expect(failure(state) == .data(reason: "\(state) m")) }
        #expect(failure("23514", constraint: "c") == .data(reason: "23514 m"))
        #expect(failure("23514") == .data(reason: "23514 m"))
        let month = MetricsMonth(year: 2025, month: 1)!
        let error = MetricsPartitionError.unattached(month)
        #expect(WriteFailure(error) == .month(month, reason: error.description))
        for state in ["40P01", "53100", "53300", "57014", "57P01", "25006", "58030", "55P03", "42P01", "42501"] {
            #expect(failure(state) == .database)
        }
        for state in ["XX000", "0A000"] { #expect(failure(state) == .unexpected) }
        #expect(WriteFailure(PostgresError.connectionLost("")) == .database)
        #expect(WriteFailure(PostgresError.connectionFailed("")) == .database)
        #expect(WriteFailure(PostgresError.poolExhausted(maxOpen: 1, waited: .zero)) == .database)
        #expect(WriteFailure(PostgresError.poolClosed) == .database)
        #expect(WriteFailure(CancellationError()) == .cancelled)
        #expect(WriteFailure(PostgresError.decoding(column: "", expected: "", found: "")) == .unexpected)
    }
}
