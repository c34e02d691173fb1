internal import CLibpq

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// Owner of one `PGconn` in non-blocking mode: every wait is a `poll` with a deadline.
///
/// Not Sendable: it lives inside one ``PostgresConnection``, on whose thread it may block.
final class LibpqConnection {
    /// How often a wait looks whether it was cancelled.
    private static let slice = Duration.milliseconds(250)

    let pointer: OpaquePointer

    private init(_ pointer: OpaquePointer) { self.pointer = pointer }

    deinit { PQfinish(self.pointer) }

    var isAlive: Bool { PQstatus(self.pointer) == CONNECTION_OK }

    /// libpq's last message, in one line.
    var message: String {
        let text = PQerrorMessage(self.pointer).map { String(cString: $0) } ?? ""
        let line = text.split(whereSeparator: \.isNewline).map { $0.trimmingPrefix(while: \.isWhitespace) }
        return line.isEmpty ? "no reason given" : line.joined(separator: "; ")
    }

    /// Connects and signs in.
    ///
    /// - Throws: ``PostgresError/connectionFailed(_:)``, `CancellationError`.
    static func open(_ configuration: PostgresConfiguration, isCancelled: () -> Bool) throws -> LibpqConnection {
        let pairs = configuration.keywords
        guard !pairs.contains(where: { $0.value.utf8.contains(0) }) else {
            throw PostgresError.connectionFailed("a connection parameter holds a NUL character")
        }
        let pointer = Self.withCStrings(pairs.map(\.keyword)) { keywords in
            // No expansion of dbname: a database name never is a connection string.
            Self.withCStrings(pairs.map(\.value)) { values in PQconnectStartParams(keywords, values, 0) }
        }
        guard let pointer else { throw PostgresError.connectionFailed("out of memory") }
        let connection = LibpqConnection(pointer)
        // Notices would go to standard error.
        PQsetNoticeReceiver(pointer, { _, _ in }, nil)
        let deadline = ContinuousClock.now + configuration.connectTimeout
        var state = PGRES_POLLING_WRITING
        while state != PGRES_POLLING_OK {
            guard PQstatus(pointer) != CONNECTION_BAD, state != PGRES_POLLING_FAILED else {
                throw PostgresError.connectionFailed(connection.message)
            }
            try connection.wait(
                for: state == PGRES_POLLING_READING ? POLLIN : POLLOUT,
                until: deadline,
                orThrow: .connectionFailed("\(configuration) did not answer within \(configuration.connectTimeout)")
            ) {
                if isCancelled() { throw CancellationError() }
            }
            state = PQconnectPoll(pointer)
        }
        guard PQsetnonblocking(pointer, 1) == 0 else { throw PostgresError.connectionFailed(connection.message) }
        return connection
    }

    /// The socket of a connection that is alive, with no transaction open; else -1.
    var idleSocket: CInt {
        self.isAlive && PQtransactionStatus(self.pointer) == PQTRANS_IDLE ? PQsocket(self.pointer) : -1
    }

    /// Sends what is buffered, reading meanwhile so that both sides never wait for each other.
    func flush(until deadline: Deadline) throws {
        while true {
            switch PQflush(self.pointer) {
            case 0: return
            case 1:
                try self.waitForServer(events: POLLIN | POLLOUT, deadline)
                if PQconsumeInput(self.pointer) == 0 { throw self.lost }
            default: throw self.lost
            }
        }
    }

    /// The next result of the statement under way; nil after the last.
    func nextResult(until deadline: Deadline) throws -> LibpqResult? {
        while PQisBusy(self.pointer) == 1 {
            try self.waitForServer(events: POLLIN, deadline)
            if PQconsumeInput(self.pointer) == 0 { throw self.lost }
        }
        return PQgetResult(self.pointer).map { LibpqResult($0) }
    }

    var lost: PostgresError { .connectionLost(self.message) }

    /// When to give up waiting for the server.
    struct Deadline {
        /// nil means never.
        var instant: ContinuousClock.Instant?
        /// Whose statement it is; nil for one that nobody may cancel.
        var canceller: QueryCanceller?
    }

    private func waitForServer(events: Int32, _ deadline: Deadline) throws {
        var cancelledUntil: ContinuousClock.Instant?
        try self.wait(
            for: events,
            until: deadline.instant,
            orThrow: .connectionLost("the server did not answer in time")
        ) {
            guard let canceller = deadline.canceller, canceller.isCancelled else { return }
            let until = cancelledUntil ?? .now + QueryCanceller.patience
            cancelledUntil = until
            if until < .now { throw PostgresError.connectionLost("the server did not react to a cancelled statement") }
            canceller.repeatRequest()
        }
    }

    /// Blocks until the socket is ready.
    private func wait(
        for events: Int32,
        until deadline: ContinuousClock.Instant?,
        orThrow timeout: PostgresError,
        everySlice check: () throws -> Void
    ) throws {
        while true {
            var descriptor = pollfd(fd: PQsocket(self.pointer), events: Int16(events), revents: 0)
            guard descriptor.fd >= 0 else { throw self.lost }
            let left = deadline.map { $0 - .now } ?? Self.slice
            guard left > .zero else { throw timeout }
            let slice = min(left, Self.slice)
            let milliseconds = slice.components.attoseconds / 1_000_000_000_000_000 + slice.components.seconds * 1000
            let ready = poll(&descriptor, 1, Int32(milliseconds + 1))
            if ready > 0 { return }
            if ready < 0, errno != EINTR { throw self.lost }
            try check()
        }
    }

    /// Calls `body` with a NULL-terminated array of C strings.
    private static func withCStrings<Result>(
        _ strings: [String],
        _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result
    ) -> Result {
        let copies = strings.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        return (copies.map { UnsafePointer($0) } + [nil]).withUnsafeBufferPointer { body($0.baseAddress!) }
    }
}
