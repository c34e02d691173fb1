import Testing

@testable import NMSPoller

@Suite struct WorkerSlotsTests {
    @Test func noMoreThanTheCountRunAndTheFirstComesFirst() {
        var slots = WorkerSlotState(count: 2)
        let a = slots.enqueue(slow: false)
        let b = slots.enqueue(slow: false)
        let c = slots.enqueue(slow: false)
        let d = slots.enqueue(slow: false)
        #expect(a.granted == [a.own] && b.granted == [b.own] && c.granted.isEmpty && d.granted.isEmpty)
        let granted1 = slots.release(a.own)
        #expect(granted1 == [c.own])
        let granted2 = slots.release(b.own)
        #expect(granted2 == [d.own])
        let granted3 = slots.release(a.own)
        #expect(granted3.isEmpty)  // twice is once
        #expect(slots.running == 2)
    }

    @Test func slowHoldersKeepAtMostAQuarter() {
        var slots = WorkerSlotState(count: 8)
        let first = (0..<8).map { _ in slots.enqueue(slow: false).own }
        let waiting = (0..<8).map { _ in slots.enqueue(slow: false).own }
        var granted: [WorkerSlotState.Ticket] = []
        for ticket in first { granted += slots.markSlow(ticket) }
        // Two stay in their slots, six are parked and make room.
        #expect(granted == Array(waiting[0..<6]))
        #expect(slots.running == 8)
        for ticket in first { granted += slots.release(ticket) }
        #expect(granted == waiting)
        #expect(slots.running == 8)
    }

    @Test func knownSlowDevicesWaitForASlowSlotWithoutHoldingOthersUp() {
        var slots = WorkerSlotState(count: 4)
        let slow = slots.enqueue(slow: true)
        let second = slots.enqueue(slow: true)
        let healthy = slots.enqueue(slow: false)
        #expect(slow.granted == [slow.own])
        #expect(second.granted.isEmpty)
        #expect(healthy.granted == [healthy.own])
        let granted4 = slots.release(slow.own)
        #expect(granted4 == [second.own])
    }

    @Test func thoseWhoWaitForASlowSlotAreCounted() {
        var slots = WorkerSlotState(count: 4)
        let tickets = (0..<4).map { _ in slots.enqueue(slow: true).own }
        _ = slots.enqueue(slow: false)
        #expect(slots.slowWaiting == 3)
        _ = slots.abandon(tickets[3])
        #expect(slots.slowWaiting == 2)
        _ = slots.release(tickets[0])
        #expect(slots.slowWaiting == 1 && slots.running == 2)
    }

    /// Whatever the slot is held for, from the moment it is had.
    @Test(.timeLimit(.minutes(1))) func aLeaseIsSlowWhateverItIsHeldFor() async throws {
        let slots = WorkerSlots(count: 1)
        let lease = SlotLease(slots: slots, ticket: try await slots.acquire(slow: false), limit: .milliseconds(1))
        // Parked by its timer: without that this would wait for ever.
        let next = try await slots.acquire(slow: false)
        #expect(lease.isSlow)
        lease.release()
        slots.release(next)
        #expect(slots.running == 0)
    }

    @Test func aSingleWorkerIsNotHeldByAStalledHost() {
        var slots = WorkerSlotState(count: 1)
        let stalled = slots.enqueue(slow: true)
        #expect(stalled.granted == [stalled.own])
        let healthy = slots.enqueue(slow: false)
        let granted5 = slots.markSlow(stalled.own)
        #expect(granted5 == [healthy.own])
        let granted6 = slots.release(stalled.own)
        #expect(granted6.isEmpty)
        #expect(slots.running == 1)
    }

    @Test func whoLeavesTheQueueIsNotServed() {
        var slots = WorkerSlotState(count: 1)
        let a = slots.enqueue(slow: false)
        let b = slots.enqueue(slow: false)
        let c = slots.enqueue(slow: false)
        let left = (slots.abandon(b.own), slots.abandon(a.own))
        #expect(left == (true, false))
        let granted7 = slots.release(a.own)
        #expect(granted7 == [c.own])
    }

    @Test(.timeLimit(.minutes(1))) func tasksShareTheSlots() async throws {
        let slots = WorkerSlots(count: 3)
        let peak = Peak()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<200 {
                group.addTask {
                    let ticket = try await slots.acquire(slow: false)
                    await peak.enter()
                    await Task.yield()
                    await peak.leave()
                    slots.release(ticket)
                }
            }
            try await group.waitForAll()
        }
        #expect(await peak.highest <= 3)
        #expect(slots.running == 0 && slots.waiting == 0)
    }

    @Test(.timeLimit(.minutes(1))) func aCancelledWaiterLeavesAndLosesNoSlot() async throws {
        let slots = WorkerSlots(count: 1)
        let ticket = try await slots.acquire(slow: false)
        let waiter = Task { try await slots.acquire(slow: false) }
        while slots.waiting == 0 { await Task.yield() }
        waiter.cancel()
        await #expect(throws: CancellationError.self) { try await waiter.value }
        slots.release(ticket)
        let next = try await slots.acquire(slow: false)
        slots.release(next)
        #expect(slots.running == 0)
    }

    private actor Peak {
        var current = 0
        var highest = 0
        func enter() {
            self.current += 1
            self.highest = max(self.highest, self.current)
        }
        func leave() { self.current -= 1 }
    }
}
