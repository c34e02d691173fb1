internal import struct Foundation.Date

/// PostgreSQL's timestamps: microseconds from 2000-01-01T00:00:00Z, leap seconds ignored.
enum PostgresTime {
    /// Seconds from 1970 to 2000.
    private static let epochOffset = 946_684_800.0
    private static let microsecondsPerDay: Int64 = 86_400_000_000
    /// Days from 0000-03-01 to 2000-01-01 in the proleptic Gregorian calendar.
    private static let daysFromYearZero: Int64 = 730_425
    /// The years 1…9999: what both ISO 8601's four digits and the server take.
    static let range = -63_082_281_600_000_000...252_455_615_999_999_999 as ClosedRange<Int64>

    /// nil when the date is not finite or outside the years 1…9999.
    static func microseconds(of date: Date) -> Int64? {
        let value = ((date.timeIntervalSince1970 - Self.epochOffset) * 1_000_000).rounded()
        guard let microseconds = Int64(exactly: value), Self.range.contains(microseconds) else { return nil }
        return microseconds
    }

    static func date(microseconds: Int64) -> Date {
        // One division of an exact integer: a whole number of milliseconds comes back as the very same Double.
        Date(timeIntervalSince1970: Double(microseconds + Int64(Self.epochOffset) * 1_000_000) / 1_000_000)
    }

    /// `2025-12-03 10:05:00.123456+00`.
    static func text(microseconds: Int64) -> String {
        let day = Self.floorDivision(microseconds, Self.microsecondsPerDay)
        let (year, month, dayOfMonth) = Self.civil(day: day)
        let time = microseconds - day * Self.microsecondsPerDay
        let seconds = time / 1_000_000
        return String(unsafeUninitializedCapacity: 29) { bytes in
            var index = 0
            // Digits from the right, then the mark behind them.
            func put(_ number: Int64, _ width: Int, _ mark: UnicodeScalar) {
                var rest = number
                for place in stride(from: index + width - 1, through: index, by: -1) {
                    bytes[place] = UInt8(ascii: "0") + UInt8(rest % 10)
                    rest /= 10
                }
                bytes[index + width] = UInt8(ascii: mark)
                index += width + 1
            }
            put(year, 4, "-")
            put(month, 2, "-")
            put(dayOfMonth, 2, " ")
            put(seconds / 3600, 2, ":")
            put(seconds / 60 % 60, 2, ":")
            put(seconds % 60, 2, ".")
            put(time % 1_000_000, 6, "+")
            bytes[index] = UInt8(ascii: "0")
            bytes[index + 1] = UInt8(ascii: "0")
            return index + 2
        }
    }

    /// The Gregorian date of a day counted from 2000-01-01, with years that begin in March so that leap days come last.
    private static func civil(day: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = day + Self.daysFromYearZero
        let era = Self.floorDivision(shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
    }

    private static func floorDivision(_ a: Int64, _ b: Int64) -> Int64 {
        let (quotient, remainder) = a.quotientAndRemainder(dividingBy: b)
        return remainder < 0 ? quotient - 1 : quotient
    }
}
