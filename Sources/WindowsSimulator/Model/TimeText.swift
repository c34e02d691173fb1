/// Instants as text, in the forms that the simulator reads and writes.
package enum TimeText {
    private static let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// RFC 9110 section 5.6.7, for the `Date` header.
    package static func httpDate(_ time: FileTime) -> String {
        let date = CivilDate(time)
        return "\(Self.weekdays[date.weekday]), \(Self.pad(date.day, 2)) \(Self.months[date.month - 1]) \(date.year) "
            + "\(Self.pad(date.hour, 2)):\(Self.pad(date.minute, 2)):\(Self.pad(date.second, 2)) GMT"
    }

    /// RFC 3339 in UTC with milliseconds, rounded down.
    package static func rfc3339(_ time: FileTime) -> String {
        let date = CivilDate(time)
        return Self.clock(date) + "." + Self.pad(date.ticks / 10_000, 3) + "Z"
    }

    /// XML Schema `dateTime` with an offset, the fraction without trailing zeros, as Windows writes `cim:Datetime`.
    package static func xmlDateTime(_ time: FileTime, offsetMinutes: Int) -> String {
        let date = CivilDate(Self.local(time, offsetMinutes))
        var text = Self.clock(date)
        let microseconds = date.ticks / 10
        if microseconds > 0 {
            var fraction = Self.pad(microseconds, 6)
            while fraction.last == "0" { fraction.removeLast() }
            text += "." + fraction
        }
        guard offsetMinutes != 0 else { return text + "Z" }
        let minutes = abs(offsetMinutes)
        return text + (offsetMinutes < 0 ? "-" : "+") + Self.pad(minutes / 60, 2) + ":" + Self.pad(minutes % 60, 2)
    }

    /// CIM datetime, `yyyymmddHHMMSS.mmmmmmsUTC` (DSP0004 section 5.2.4).
    package static func cimDateTime(_ time: FileTime, offsetMinutes: Int) -> String {
        let date = CivilDate(Self.local(time, offsetMinutes))
        return Self.pad(date.year, 4) + Self.pad(date.month, 2) + Self.pad(date.day, 2) + Self.pad(date.hour, 2)
            + Self.pad(date.minute, 2) + Self.pad(date.second, 2) + "." + Self.pad(date.ticks / 10, 6)
            + (offsetMinutes < 0 ? "-" : "+") + Self.pad(abs(offsetMinutes), 3)
    }

    /// Reads RFC 3339: date, `T`, time, an optional fraction, `Z` or an offset; nil for anything else.
    package static func parseRFC3339(_ text: String) -> FileTime? {
        var scanner = DigitScanner(text)
        guard let year = scanner.number(4), scanner.take("-"), let month = scanner.number(2), scanner.take("-"),
            let day = scanner.number(2), scanner.takeAny("Tt "), let hour = scanner.number(2), scanner.take(":"),
            let minute = scanner.number(2), scanner.take(":"), let second = scanner.number(2),
            (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second <= 60
        else { return nil }
        var ticks = 0
        if scanner.take(".") {
            guard let fraction = scanner.fraction(digits: 7) else { return nil }
            ticks = fraction
        }
        var offset = 0
        if !scanner.takeAny("Zz") {
            let sign = scanner.take("-") ? -1 : 1
            // A "+" in a query that was not percent-encoded arrives as a space.
            guard sign < 0 || scanner.takeAny("+ "), let hours = scanner.number(2), scanner.take(":"),
                let minutes = scanner.number(2)
            else { return nil }
            offset = sign * (hours * 60 + minutes)
        }
        guard scanner.isAtEnd else { return nil }
        let date = CivilDate(
            year: year,
            month: month,
            day: day,
            hour: hour,
            minute: minute,
            second: second,
            ticks: ticks
        )
        return Self.local(date.fileTime, -offset)
    }

    private static func local(_ time: FileTime, _ offsetMinutes: Int) -> FileTime {
        FileTime(ticks: time.ticks + Int64(offsetMinutes) * 60 * FileTime.ticksPerSecond)
    }

    private static func clock(_ date: CivilDate) -> String {
        "\(Self.pad(date.year, 4))-\(Self.pad(date.month, 2))-\(Self.pad(date.day, 2))T"
            + "\(Self.pad(date.hour, 2)):\(Self.pad(date.minute, 2)):\(Self.pad(date.second, 2))"
    }

    private static func pad(_ number: Int, _ width: Int) -> String {
        let digits = String(number)
        return digits.count >= width ? digits : String(repeating: "0", count: width - digits.count) + digits
    }
}

/// Takes fixed-width numbers off the front of a text.
private struct DigitScanner {
    private var rest: Substring.UTF8View

    init(_ text: String) {
        self.rest = Substring(text).utf8
    }

    var isAtEnd: Bool { self.rest.isEmpty }

    mutating func number(_ width: Int) -> Int? {
        var value = 0
        var copy = self.rest
        for _ in 0..<width {
            guard let byte = copy.popFirst(), (0x30...0x39).contains(byte) else { return nil }
            value = value * 10 + Int(byte - 0x30)
        }
        self.rest = copy
        return value
    }

    /// Digits after a decimal point, scaled to `digits` places; further digits are dropped.
    mutating func fraction(digits: Int) -> Int? {
        var value = 0
        var count = 0
        while let byte = self.rest.first, (0x30...0x39).contains(byte) {
            self.rest.removeFirst()
            if count < digits { value = value * 10 + Int(byte - 0x30) }
            count += 1
        }
        guard count > 0 else { return nil }
        for _ in 0..<max(0, digits - count) { value *= 10 }
        return value
    }

    mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard let byte = self.rest.first, UInt32(byte) == character.value else { return false }
        self.rest.removeFirst()
        return true
    }

    mutating func takeAny(_ characters: String) -> Bool {
        guard let byte = self.rest.first, characters.utf8.contains(byte) else { return false }
        self.rest.removeFirst()
        return true
    }
}
