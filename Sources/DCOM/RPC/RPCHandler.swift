import NIOCore
import SSP
import Synchronization

/// What of a connection other threads may ask.
final class RPCConnectionStatus: Sendable {
    let isOpen = Atomic(true)
    let roundTrips = Atomic(0)
    let bytesSent = Atomic(0)
    let bytesReceived = Atomic(0)
    let challengeInfo = Mutex<NTLMChallengeInfo?>(nil)
}

/// One operation from its start to its end.
final class RPCTicket: Sendable {
    let operation: RPCOperation
    let deadline: NIODeadline
    /// Set before the event loop hears of it, since that may be before it hears of the operation.
    let isCancelled = Atomic(false)

    init(_ operation: RPCOperation, deadline: NIODeadline) {
        self.operation = operation
        self.deadline = deadline
    }
}

/// Performs what ``RPCClientMachine`` decides: the last handler of the pipeline.
///
/// Operations wait in line for the one in flight. A peer cannot fill memory: a fragment is used up as it comes, an
/// answer is held against its limit, and what nobody asked for closes the connection.
final class RPCHandler: ChannelInboundHandler {
    typealias InboundIn = RPCFragment
    typealias OutboundOut = ByteBuffer
    typealias Completion = @Sendable (Result<RPCReply, RPCError>) -> Void

    private struct Entry {
        let ticket: RPCTicket
        let completion: Completion
        let timer: Scheduled<Void>
    }

    private let status: RPCConnectionStatus
    private var machine: RPCClientMachine
    private var current: Entry?
    private var waiting: [Entry] = []
    private var context: ChannelHandlerContext?

    init(limits: RPCLimits, environment: NTLMEnvironment, status: RPCConnectionStatus) {
        self.machine = RPCClientMachine(limits: limits, environment: environment)
        self.status = status
    }

    /// How many operations stand in line behind the one in flight.
    var waitingCount: Int { self.waiting.count }

    // MARK: - Calls from the connection, on the event loop

    /// Puts an operation in line. `completion` is called exactly once, here or later.
    func submit(_ ticket: RPCTicket, completion: @escaping Completion) {
        guard !ticket.isCancelled.load(ordering: .acquiring) else { return completion(.failure(.cancelled)) }
        guard let context else { return completion(.failure(self.machine.failure ?? .connectionClosed)) }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let timer = context.eventLoop.scheduleTask(deadline: ticket.deadline) {
            bound.value.drop(ticket, whileWaiting: .notStarted(.waiting), inFlight: .timedOut(ticket.operation.phase))
        }
        self.waiting.append(Entry(ticket: ticket, completion: completion, timer: timer))
        self.startNext()
    }

    /// The caller does not want the operation any more. In flight, it takes the connection with it.
    func cancel(_ ticket: RPCTicket) {
        self.drop(ticket, whileWaiting: .cancelled, inFlight: .cancelled)
    }

    /// Gives the connection up with this error for whoever waits.
    func fail(_ error: RPCError) {
        self.perform(self.machine.fail(error))
    }

    private func drop(_ ticket: RPCTicket, whileWaiting: RPCError, inFlight: RPCError) {
        if self.current?.ticket === ticket {
            self.perform(self.machine.giveUp(inFlight))
        } else if let index = self.waiting.firstIndex(where: { $0.ticket === ticket }) {
            self.complete(self.waiting.remove(at: index), .failure(whileWaiting))
        }
    }

    private func startNext() {
        while self.current == nil, !self.waiting.isEmpty {
            let entry = self.waiting.removeFirst()
            switch self.machine.begin(entry.ticket.operation) {
            case .send(let bytes):
                self.current = entry
                self.status.roundTrips.add(1, ordering: .relaxed)
                self.send(bytes)
            case .sendOnly(let bytes, let reply):
                self.send(bytes)
                self.complete(entry, .success(reply))
            case .done(let reply):
                self.complete(entry, .success(reply))
            case .failed(let error, let close):
                self.complete(entry, .failure(error))
                if close { self.close() }
            }
        }
    }

    private func send(_ bytes: [UInt8]) {
        guard let context else { return }
        self.status.bytesSent.add(bytes.count, ordering: .relaxed)
        context.writeAndFlush(self.wrapOutboundOut(context.channel.allocator.buffer(bytes: bytes)), promise: nil)
    }

    private func complete(_ entry: Entry, _ result: Result<RPCReply, RPCError>) {
        entry.timer.cancel()
        entry.completion(result)
    }

    private func perform(_ action: RPCClientMachine.Action) {
        switch action {
        case .none:
            return
        case .close:
            self.close()
        case .complete(let result, let close):
            let entry = self.current
            self.current = nil
            if case .requestChallenge? = entry?.ticket.operation {
                self.status.challengeInfo.withLock { $0 = self.machine.challengeInfo }
            }
            if close { self.close() }
            if let entry { self.complete(entry, result) }
        }
        // After a failure this fails whoever waits, with what it means to them.
        self.startNext()
    }

    private func close() {
        self.status.isOpen.store(false, ordering: .releasing)
        self.context?.close(promise: nil)
    }

    // MARK: - Events of the channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.fail(.connectionClosed)
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let fragment = self.unwrapInboundIn(data)
        self.status.bytesReceived.add(fragment.bytes.count, ordering: .relaxed)
        self.perform(self.machine.received(fragment))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = RPCError(channelError: error) {
            self.fail(error)
        } else {
            // What that means, the machine knows: it hears of the end once the decoder has looked for half an answer.
            self.close()
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.status.isOpen.store(false, ordering: .releasing)
        self.perform(self.machine.closed())
        context.fireChannelInactive()
    }
}
