/// A point in time as WMI writes it.
package struct CIMDateTime: Sendable, Hashable {
    /// Microseconds since 1970-01-01T00:00:00Z.
    package var microsecondsSince1970: Int64
    /// The offset of the host's local time from UTC in minutes, as it was written.
    package var utcOffsetMinutes: Int

    package init(microsecondsSince1970: Int64, utcOffsetMinutes: Int) {
        self.microsecondsSince1970 = microsecondsSince1970
        self.utcOffsetMinutes = utcOffsetMinutes
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    package var secondsSince1970: Double { Double(self.microsecondsSince1970) / 1_000_000 }

    /// Reads `yyyymmddHHMMSS.mmmmmmsUUU` ([DSP0004] 5.2.4) or an `xs:dateTime` such as
    /// `2024-02-29T12:30:00.5+01:00`.
    ///
    /// nil for anything else, among it intervals and dates with `*` for unknown digits.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard let parsed = bytes.contains(UInt8(ascii: "T")) ? Self.parseISO(bytes) : Self.parseCIM(bytes) else {
            return nil
        }
        self = parsed
    }

    private struct Fields {
        var year = 0
        var month = 0
        var day = 0
        var hour = 0
        var minute = 0
        var second = 0
        var microsecond = 0
        var offset = 0

        func dateTime() -> CIMDateTime? {
            guard (1...9999).contains(self.year), (1...12).contains(self.month), (1...31).contains(self.day),
                self.hour < 24, self.minute < 60, self.second < 61, abs(self.offset) < 24 * 60
            else { return nil }
            let days = Self.daysSince1970(year: self.year, month: self.month, day: self.day)
            let seconds = (days * 24 + self.hour) * 3600 + (self.minute - self.offset) * 60 + self.second
            return CIMDateTime(
                microsecondsSince1970: Int64(seconds) * 1_000_000 + Int64(self.microsecond),
                utcOffsetMinutes: self.offset
            )
        }

        /// Days of the proleptic Gregorian calendar, counted in years that begin in March.
        private static func daysSince1970(year: Int, month: Int, day: Int) -> Int {
            let shifted = month <= 2 ? year - 1 : year
            let era = shifted / 400
            let yearOfEra = shifted - era * 400
            let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
            let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
            return era * 146_097 + dayOfEra - 719_468
        }
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> Int? {
        guard !bytes.isEmpty, bytes.count <= 6 else { return nil }
        var value = 0
        for byte in bytes {
            guard (0x30...0x39).contains(byte) else { return nil }
            value = value * 10 + Int(byte - 0x30)
        }
        return value
    }

    private static func parseCIM(_ bytes: [UInt8]) -> CIMDateTime? {
        guard bytes.count == 25, bytes[14] == UInt8(ascii: ".") else { return nil }
        let sign = bytes[21]
        guard sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-"),
            let year = Self.number(bytes[0..<4]), let month = Self.number(bytes[4..<6]),
            let day = Self.number(bytes[6..<8]), let hour = Self.number(bytes[8..<10]),
            let minute = Self.number(bytes[10..<12]), let second = Self.number(bytes[12..<14]),
            let microsecond = Self.number(bytes[15..<21]), let offset = Self.number(bytes[22..<25])
        else { return nil }
        return Fields(
            year: year,
            month: month,
            day: day,
            hour: hour,
            minute: minute,
            second: second,
            microsecond: microsecond,
            offset: sign == UInt8(ascii: "-") ? -offset : offset
        ).dateTime()
    }

    private static func parseISO(_ bytes: [UInt8]) -> CIMDateTime? {
        guard bytes.count >= 19, bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"),
            bytes[10] == UInt8(ascii: "T"), bytes[13] == UInt8(ascii: ":"), bytes[16] == UInt8(ascii: ":"),
            let year = Self.number(bytes[0..<4]), let month = Self.number(bytes[5..<7]),
            let day = Self.number(bytes[8..<10]), let hour = Self.number(bytes[11..<13]),
            let minute = Self.number(bytes[14..<16]), let second = Self.number(bytes[17..<19])
        else { return nil }
        var fields = Fields(year: year, month: month, day: day, hour: hour, minute: minute, second: second)
        var rest = bytes[19...]
        if rest.first == UInt8(ascii: ".") {
            let digits = rest.dropFirst().prefix { (0x30...0x39).contains($0) }
            guard !digits.isEmpty, digits.count <= 12 else { return nil }
            let six = Array(digits.prefix(6)) + [UInt8](repeating: 0x30, count: max(0, 6 - digits.count))
            guard let microsecond = Self.number(six[...]) else { return nil }
            fields.microsecond = microsecond
            rest = rest.dropFirst(1 + digits.count)
        }
        switch rest.first {
        case nil, UInt8(ascii: "Z"):
            guard rest.count <= 1 else { return nil }
        case UInt8(ascii: "+"), UInt8(ascii: "-"):
            let zone = Array(rest)
            guard zone.count == 6, zone[3] == UInt8(ascii: ":"), let hours = Self.number(zone[1..<3]),
                let minutes = Self.number(zone[4..<6])
            else { return nil }
            fields.offset = (hours * 60 + minutes) * (zone[0] == UInt8(ascii: "-") ? -1 : 1)
        default:
            return nil
        }
        return fields.dateTime()
    }
}
