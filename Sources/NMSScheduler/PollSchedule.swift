package import Foundation
internal import HeapModule
package import NMSCore

/// A poll whose time has come.
package struct DuePoll: Sendable, Equatable {
    package var deviceID: Int
    package var credentialID: Int
    /// The slot that the poll belongs to, not the moment at which it was noticed.
    package var scheduledAt: Date
    /// Seconds.
    package var interval: Int
    /// 0, or another number for each time that the clock was set back: slots that come again are not the old ones.
    package var clockStep: UInt64 = 0
}

/// Decides when each device is polled: pure, with the time handed in.
///
/// A device is due at the moments that are congruent to its phase modulo its interval. The phase is a stable hash of
/// the device, so that the fleet is spread over the interval and a restart does not bunch it.
package struct PollSchedule: Sendable {
    private struct Entry {
        var device: ScheduledDevice
        var nextDue: Date
    }

    /// Lazily deleted: a slot counts only while it equals its entry's `nextDue`.
    private struct Slot: Comparable {
        var due: Date
        var deviceID: Int

        static func < (lhs: Slot, rhs: Slot) -> Bool { (lhs.due, lhs.deviceID) < (rhs.due, rhs.deviceID) }
    }

    private var entries: [Int: Entry] = [:]
    private var slots = Heap<Slot>()

    /// Slots that passed unused because the scheduler was late by more than an interval.
    package private(set) var missedSlots: UInt64 = 0

    private var clockStep: UInt64 = 0
    /// The latest time that was seen since the clock was last set back.
    private var reached: Date?

    /// Seconds by which the clock may go back unnoticed, as it does when it is corrected: slots wait for so much longer.
    static let clockTolerance: TimeInterval = 1

    package init() {}

    package var count: Int { self.entries.count }

    /// Adds a device or takes over its changed settings; a device whose interval is unchanged keeps its place.
    ///
    /// - Parameter lookBack: seconds; a new device's slot is due as well if it has passed for no longer than that, nor for
    ///   longer than the device's interval.
    package mutating func set(_ device: ScheduledDevice, now: Date, lookBack: TimeInterval = 0) {
        self.reached = max(self.reached ?? now, now)
        if let entry = self.entries[device.deviceID], entry.device.interval == device.interval {
            self.entries[device.deviceID]?.device = device
            return
        }
        self.place(device, after: now.addingTimeInterval(-min(lookBack, TimeInterval(device.interval))))
    }

    package mutating func remove(deviceID: Int) {
        self.entries[deviceID] = nil
    }

    /// Forgets every device and its place; ``missedSlots`` stays.
    package mutating func removeAll() {
        self.entries.removeAll()
        self.slots = Heap()
        self.reached = nil
    }

    /// Makes the schedule hold exactly `devices`.
    ///
    /// - Parameter lookBack: as for ``set(_:now:lookBack:)``.
    package mutating func replaceAll(_ devices: [ScheduledDevice], now: Date, lookBack: TimeInterval = 0) {
        let kept = Set(devices.map(\.deviceID))
        for id in self.entries.keys where !kept.contains(id) { self.entries[id] = nil }
        for device in devices { self.set(device, now: now, lookBack: lookBack) }
    }

    /// When the next poll is due; nil when there is no device.
    package mutating func nextDue() -> Date? {
        while let slot = self.slots.min {
            if self.entries[slot.deviceID]?.nextDue == slot.due { return slot.due }
            self.slots.removeMin()
        }
        return nil
    }

    /// Takes out every poll that is due at `now`; each device at most once, however late the call is.
    package mutating func takeDue(now: Date) -> [DuePoll] {
        self.followClock(now)
        var due: [DuePoll] = []
        while let next = self.nextDue(), next <= now {
            let slot = self.slots.removeMin()
            guard let entry = self.entries[slot.deviceID] else { continue }
            let device = entry.device
            // Of several slots that passed, the latest is run and the others are counted: a late job is not made up for.
            let skipped = Int(now.timeIntervalSince(slot.due)) / device.interval
            self.missedSlots += UInt64(skipped)
            due.append(
                DuePoll(
                    deviceID: device.deviceID,
                    credentialID: device.credentialID,
                    scheduledAt: slot.due.addingTimeInterval(Double(skipped * device.interval)),
                    interval: device.interval,
                    clockStep: self.clockStep
                )
            )
            self.place(device, after: now)
        }
        return due
    }

    /// Milliseconds into the interval at which a device is due: a stable hash, evenly spread.
    static func phase(deviceID: Int, interval: Int) -> Int {
        Int(Partition.stableHash(UInt64(bitPattern: Int64(deviceID)) ^ 0x5EED) % UInt64(interval * 1000))
    }

    private mutating func place(_ device: ScheduledDevice, after now: Date) {
        let interval = device.interval * 1000
        let phase = Self.phase(deviceID: device.deviceID, interval: device.interval)
        let nowMs = Int((now.timeIntervalSince1970 * 1000).rounded(.down))
        let periods = (nowMs - phase) / interval
        var dueMs = periods * interval + phase
        while dueMs <= nowMs { dueMs += interval }
        let due = Date(timeIntervalSince1970: Double(dueMs) / 1000)
        self.entries[device.deviceID] = Entry(device: device, nextDue: due)
        self.slots.insert(Slot(due: due, deviceID: device.deviceID))
    }

    /// A clock that was set back must not silence a device for the length of the jump.
    private mutating func followClock(_ now: Date) {
        guard let reached = self.reached, now < reached.addingTimeInterval(-Self.clockTolerance) else {
            self.reached = max(self.reached ?? now, now)
            return
        }
        self.reached = now
        // New at each step, also when the clock is set back from the same time again.
        let moment = UInt64(bitPattern: Int64((reached.timeIntervalSince1970 * 1000).rounded()))
        self.clockStep = Partition.stableHash(self.clockStep ^ moment) | 1
        // Others have long intervals, and wait no longer than these.
        for entry in self.entries.values
        where entry.nextDue.timeIntervalSince(now) > TimeInterval(entry.device.interval) {
            self.place(entry.device, after: now)
        }
    }
}
