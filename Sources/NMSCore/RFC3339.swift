package import Foundation

/// RFC 3339 times.
///
/// Every answer, job, result and log line has some: the form that is written here is written and read without
/// Foundation's formatters, which take ten times as long.
package enum RFC3339 {
    private static let millisecondsPerDay: Int64 = 86_400_000
    /// From year 1 to 9999, in milliseconds since 1970.
    private static let writable: ClosedRange<Int64> = -62_135_596_800_000...253_402_300_799_999
    /// Of what is written here: `2025-12-03T10:05:00.000Z`.
    private static let length = 24

    /// UTC with milliseconds, such as `2025-12-03T10:05:00.000Z`.
    package static func string(from date: Date) -> String {
        let milliseconds = (date.timeIntervalSince1970 * 1000).rounded()
        guard let exact = Int64(exactly: milliseconds), Self.writable.contains(exact) else {
            return date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        }
        return Self.string(millisecondsSince1970: exact)
    }

    /// The same for a moment of the years 1 to 9999; another one becomes the nearest of these.
    package static func string(millisecondsSince1970 moment: Int64) -> String {
        let moment = min(max(moment, Self.writable.lowerBound), Self.writable.upperBound)
        let days = moment >= 0 ? moment / Self.millisecondsPerDay : (moment + 1) / Self.millisecondsPerDay - 1
        let time = Int(moment - days * Self.millisecondsPerDay)
        let (year, month, day) = Self.civil(days: Int(days))
        return String(unsafeUninitializedCapacity: Self.length) { bytes in
            var index = 0
            func put(_ number: Int, _ width: Int, _ mark: UnicodeScalar) {
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
            put(day, 2, "T")
            put(time / 3_600_000, 2, ":")
            put(time / 60_000 % 60, 2, ":")
            put(time / 1000 % 60, 2, ".")
            put(time % 1000, 3, "Z")
            return index
        }
    }

    /// Accepts any offset, with or without a fraction; nil for anything else.
    package static func date(from text: String) -> Date? {
        switch Self.read(text.utf8) {
        case .moment(let milliseconds): return Date(timeIntervalSince1970: Double(milliseconds) / 1000)
        case .noMoment: return nil
        case .otherForm:
            let date =
                (try? Date.ISO8601FormatStyle(includingFractionalSeconds: true).parse(text))
                ?? (try? Date.ISO8601FormatStyle().parse(text))
            return date?.roundedToMilliseconds
        }
    }

    private enum Reading {
        /// In milliseconds since 1970.
        case moment(Int64)
        /// Such as 30 February.
        case noMoment
        case otherForm
    }

    /// Reads the form that is written here.
    private static func read(_ text: String.UTF8View) -> Reading {
        guard text.count == Self.length else { return .otherForm }
        var bytes = text.makeIterator()
        func number(_ width: Int, _ mark: UnicodeScalar) -> Int? {
            var value = 0
            for _ in 0..<width {
                guard let byte = bytes.next(), (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else {
                    return nil
                }
                value = value * 10 + Int(byte - UInt8(ascii: "0"))
            }
            return bytes.next() == UInt8(ascii: mark) ? value : nil
        }
        guard let year = number(4, "-"), let month = number(2, "-"), let day = number(2, "T"),
            let hour = number(2, ":"),
            let minute = number(2, ":"), let second = number(2, "."), let fraction = number(3, "Z")
        else { return .otherForm }
        let days = Self.days(year: year, month: month, day: day)
        guard year > 0, (1...12).contains(month), hour < 24, minute < 60, second < 60,
            // A day that its month does not have comes back as another.
            Self.civil(days: days) == (year, month, day)
        else { return .noMoment }
        let seconds = Int64(days) * 86_400 + Int64(hour * 3600 + minute * 60 + second)
        return .moment(seconds * 1000 + Int64(fraction))
    }

    // MARK: - The Gregorian calendar
    // Years that begin in March have their odd day at their end; 400 of them have 146,097 days, and 1970-01-01 is day
    // 719,468 of those since 0000-03-01.

    private static func civil(days: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }

    private static func days(year: Int, month: Int, day: Int) -> Int {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = (shiftedYear >= 0 ? shiftedYear : shiftedYear - 399) / 400
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}

extension Date {
    /// The same moment in whole milliseconds: what storage, queue and API carry, so that all three agree.
    package var roundedToMilliseconds: Date {
        Date(timeIntervalSince1970: (self.timeIntervalSince1970 * 1000).rounded() / 1000)
    }
}
