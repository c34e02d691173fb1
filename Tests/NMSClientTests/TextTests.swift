import Testing

@testable import NMSClient

@Suite struct TextTests {
    @Test func controlAndDirectionCharactersAreTakenOut() {
        #expect(PrintableText.of("a\u{1B}[31mb\u{7}\u{202E}c\u{2028}d\r\n") == "a[31mbcd")
        #expect(PrintableText.of("Büroserver サーバー") == "Büroserver サーバー")
    }

    @Test func widthsAreThoseOfATerminal() {
        #expect(PrintableText.width("abc") == 3)
        #expect(PrintableText.width("サーバー") == 8)
        #expect(PrintableText.width("e\u{301}") == 1)
    }

    @Test(arguments: [(10, "WIN-SRV01"), (8, "WIN-SRV…"), (1, "…"), (0, "")])
    func longTextsEndWithAMark(width: Int, expected: String) {
        #expect(PrintableText.fitted("WIN-SRV01", width: width, ellipsis: "…") == expected)
    }

    @Test func aWideCharacterIsNotCutInHalf() {
        let fitted = PrintableText.fitted("サーバー", width: 4, ellipsis: "…")
        #expect(fitted == "サ…")
        #expect(PrintableText.width(fitted) <= 4)
    }

    @Test func quantitiesHaveOneDecimalAndAUnit() {
        #expect(Quantities.bytes(0) == "0 B")
        #expect(Quantities.bytes(17_179_869_184) == "16.0 GiB")
        #expect(Quantities.bytes(1023.99 * 1024) == "1.0 MiB")
        #expect(Quantities.rate(999_960) == "1.0 MB/s")
        #expect(Quantities.percent(nil) == "-")
        #expect(Quantities.age(119) == "119s")
        #expect(Quantities.age(120) == "2m")
        #expect(Quantities.age(-3) == "0s")
        #expect(Quantities.age(200_000) == "2d")
    }

    @Test(arguments: ["", "h", "0", "-1h", "1.5h", "1y", "h1", "99999999d"])
    func lengthsOfTimeThatAreNoneAreRefused(text: String) { #expect(Quantities.seconds(text) == nil) }

    @Test func lengthsOfTimeHaveUnits() {
        #expect(Quantities.seconds("90") == 90)
        #expect(Quantities.seconds("24h") == 86_400)
        #expect(Quantities.seconds("2w") == 1_209_600)
    }

    @Test func sparklinesKeepGapsAndScale() {
        let style = TextStyler(hasColor: false, isUnicode: true)
        #expect(Sparkline.text([0, 50, nil, 100], top: 100, style) == "▁▅ █")
        #expect(Sparkline.text([0, 50, nil, 100], top: 100, .plain) == "_= #")
        #expect(Sparkline.text([0, 0], top: nil, style) == "▁▁")
        #expect(Sparkline.text([500], top: 100, style) == "█")
    }

    @Test func pointsFallIntoTheirColumns() {
        let points = [(at: 0.0, value: 1.0), (at: 9.0, value: 3.0), (at: 10.0, value: 5.0), (at: 30.0, value: 7.0)]
        #expect(Sparkline.resampled(points, from: 0, to: 30, columns: 3) == [2, 5, nil])
        #expect(Sparkline.resampled(points, from: 5, to: 5, columns: 3).isEmpty)
    }

    @Test func localesTellWhetherTextIsUnicode() {
        #expect(Terminal.isUnicode(["LANG": "de_DE.UTF-8"]))
        #expect(Terminal.isUnicode(["LC_ALL": "C.utf8", "LANG": "C"]))
        #expect(!Terminal.isUnicode(["LC_ALL": "C", "LANG": "de_DE.UTF-8"]))
        #expect(!Terminal.isUnicode([:]))
    }
}

@Suite struct TextTableTests {
    private static let columns = [
        TextColumn("ID", .trailing), TextColumn("NAME", minimum: 4), TextColumn("ADDRESS", expendability: 1),
        TextColumn("OS", minimum: 5, expendability: 2),
    ]
    private static let table = TextTable(
        columns: Self.columns,
        rows: [
            [TextCell("7"), TextCell("server-one"), TextCell("10.0.0.1"), TextCell("Windows Server 2022", .red)],
            [TextCell("12"), TextCell(nil), TextCell("10.0.0.12"), TextCell("x\u{1B}[2J")],
        ]
    )

    @Test func withoutALimitNothingIsCut() {
        let lines = Self.table.lines(.plain, width: nil)
        #expect(
            lines == [
                "ID  NAME        ADDRESS    OS", " 7  server-one  10.0.0.1   Windows Server 2022",
                "12  -           10.0.0.12  x[2J",
            ]
        )
    }

    @Test(arguments: 12...60) func noLineIsWiderThanTheTerminal(width: Int) {
        for line in Self.table.lines(.plain, width: width) { #expect(PrintableText.width(line) <= width, "\(line)") }
    }

    @Test func flexibleColumnsShrinkBeforeOthersAreLeftOut() {
        #expect(Self.table.lines(.plain, width: 40)[0].contains("OS"))
        #expect(Self.table.lines(.plain, width: 30)[1].contains("10.0.0.1"))
        let narrow = Self.table.lines(.plain, width: 14)
        #expect(narrow[0] == "ID  NAME")
        #expect(narrow[1].hasPrefix(" 7  server-"))
    }

    @Test func colorsAddNoColumns() {
        let style = TextStyler(hasColor: true, isUnicode: true)
        let line = Self.table.lines(style, width: nil)[1]
        #expect(line == " 7  server-one  10.0.0.1   \u{1B}[31mWindows Server 2022\u{1B}[0m")
    }
}
