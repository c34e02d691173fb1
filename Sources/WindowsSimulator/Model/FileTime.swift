#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// An instant in 100-nanosecond ticks since 1601-01-01 UTC, as [MS-DTYP] 2.3.3 defines FILETIME.
package struct FileTime: Hashable, Comparable, Sendable {
    /// Ticks of one second.
    package static let ticksPerSecond: Int64 = 10_000_000
    /// Seconds from 1601-01-01 to 1970-01-01.
    private static let unixEpochSeconds: Int64 = 11_644_473_600

    package var ticks: Int64

    package init(ticks: Int64) {
        self.ticks = ticks
    }

    /// The instant a number of seconds after 1970-01-01 UTC.
    package init(unixSeconds: Int64, nanoseconds: Int64 = 0) {
        self.ticks = (unixSeconds + Self.unixEpochSeconds) * Self.ticksPerSecond + nanoseconds / 100
    }

    /// What the system's clock shows.
    package static func now() -> Self {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Self(unixSeconds: Int64(time.tv_sec), nanoseconds: Int64(time.tv_nsec))
    }

    /// Whole seconds since 1970-01-01 UTC, rounded down.
    package var unixSeconds: Int64 {
        Self.floorDivide(self.ticks, Self.ticksPerSecond) - Self.unixEpochSeconds
    }

    /// Ticks after the whole second, 0 to 9,999,999.
    package var ticksInSecond: Int64 {
        self.ticks - Self.floorDivide(self.ticks, Self.ticksPerSecond) * Self.ticksPerSecond
    }

    /// Seconds from `start` to this instant.
    package func seconds(since start: Self) -> Double {
        Double(self.ticks - start.ticks) / Double(Self.ticksPerSecond)
    }

    package func adding(seconds: Double) -> Self {
        Self(ticks: self.ticks + Int64((seconds * Double(Self.ticksPerSecond)).rounded()))
    }

    package static func < (left: Self, right: Self) -> Bool {
        left.ticks < right.ticks
    }

    /// Midnight UTC of the first day of this instant's month.
    package var startOfMonth: Self {
        let date = CivilDate(self)
        return CivilDate(year: date.year, month: date.month, day: 1).fileTime
    }

    static func floorDivide(_ dividend: Int64, _ divisor: Int64) -> Int64 {
        let quotient = dividend / divisor
        return dividend % divisor < 0 ? quotient - 1 : quotient
    }
}

/// A date and time of day in the proleptic Gregorian calendar, UTC unless a caller shifted it.
package struct CivilDate: Hashable, Sendable {
    package var year: Int
    package var month: Int
    package var day: Int
    package var hour = 0
    package var minute = 0
    package var second = 0
    /// 100-nanosecond ticks after the second.
    package var ticks = 0

    package init(year: Int, month: Int, day: Int, hour: Int = 0, minute: Int = 0, second: Int = 0, ticks: Int = 0) {
        self.year = year
        self.month = month
        self.day = day
        self.hour = hour
        self.minute = minute
        self.second = second
        self.ticks = ticks
    }

    package init(_ time: FileTime) {
        let seconds = time.unixSeconds
        let days = FileTime.floorDivide(seconds, 86_400)
        let secondOfDay = Int(seconds - days * 86_400)
        // Years start in March here, so that the leap day is a year's last day.
        let shifted = Int(days) + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        self.init(
            year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
            month: month,
            day: dayOfYear - (153 * shiftedMonth + 2) / 5 + 1,
            hour: secondOfDay / 3_600,
            minute: secondOfDay / 60 % 60,
            second: secondOfDay % 60,
            ticks: Int(time.ticksInSecond)
        )
    }

    package var fileTime: FileTime {
        let shiftedYear = self.month <= 2 ? self.year - 1 : self.year
        let era = (shiftedYear >= 0 ? shiftedYear : shiftedYear - 399) / 400
        let yearOfEra = shiftedYear - era * 400
        let shiftedMonth = self.month > 2 ? self.month - 3 : self.month + 9
        let dayOfYear = (153 * shiftedMonth + 2) / 5 + self.day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        let days = era * 146_097 + dayOfEra - 719_468
        let seconds = Int64(days) * 86_400 + Int64(self.hour * 3_600 + self.minute * 60 + self.second)
        var time = FileTime(unixSeconds: seconds)
        time.ticks += Int64(self.ticks)
        return time
    }

    /// 0 is Sunday.
    package var weekday: Int {
        let days = FileTime.floorDivide(self.fileTime.unixSeconds, 86_400)
        return Int(((days + 4) % 7 + 7) % 7)
    }
}
