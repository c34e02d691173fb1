internal import NMSCore
internal import struct Foundation.Date

/// RFC 3339 §5.6 to the letter, of years that PostgreSQL and four digits hold with room for any offset.
enum StrictTime {
    static let years = 1970...9998

    /// nil for another text, for a day that its month does not have, for a leap second and for another year, which is
    /// that of the text, not of UTC. In whole milliseconds.
    static func date(from text: String) -> Date? {
        let shape =
            #/
            (?<year>\d{4})-(?<month>\d\d)-(?<day>\d\d)[Tt]
            (?<hour>\d\d):(?<minute>\d\d):(?<second>\d\d)(?:\.(?<fraction>\d{1,9}))?
            (?:[Zz]|(?<sign>[+\-])(?<offsetHour>\d\d):(?<offsetMinute>\d\d))
            /#
        // The digits of a regular expression are those of all of Unicode.
        guard text.utf8.allSatisfy({ $0 < 0x80 }), let match = text.wholeMatch(of: shape)?.output,
            let year = Int(match.year), let month = Int(match.month), let day = Int(match.day),
            let hour = Int(match.hour), let minute = Int(match.minute), let second = Int(match.second),
            self.years.contains(year), (1...12).contains(month), (1...self.days(of: month, year)).contains(day),
            hour < 24, minute < 60, second < 60
        else { return nil }
        let offsetHour = match.offsetHour.flatMap { Int($0) } ?? 0
        let offsetMinute = match.offsetMinute.flatMap { Int($0) } ?? 0
        guard offsetHour < 24, offsetMinute < 60 else { return nil }
        let offset = (offsetHour * 60 + offsetMinute) * (match.sign == "-" ? -60 : 60)
        let seconds = self.daysSince1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset
        let fraction = match.fraction.flatMap { Double("0.\($0)") } ?? 0
        return Date(timeIntervalSince1970: Double(seconds) + fraction).roundedToMilliseconds
    }

    private static func days(of month: Int, _ year: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// By the Gregorian calendar, with years that begin in March so that a leap day comes last.
    private static func daysSince1970(_ year: Int, _ month: Int, _ day: Int) -> Int {
        let year = month > 2 ? year : year - 1
        let monthsSinceMarch = (month + 9) % 12
        let daysBefore = 365 * year + year / 4 - year / 100 + year / 400
        // 1970-01-01 is day 719,468 of this count.
        return daysBefore + (153 * monthsSinceMarch + 2) / 5 + day - 1 - 719_468
    }
}
