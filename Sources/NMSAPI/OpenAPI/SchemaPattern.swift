/// Regular expressions of the document, in the dialect of ECMA-262 that JSON Schema asks for, without anything that other
/// dialects read in another way: no `\s`, `\w`, no properties of Unicode.
enum SchemaPattern {
    // C0, DEL and C1: the general category Cc.
    private static let controls = #"\u0000-\u001F\u007F-\u009F"#
    // The property White_Space of Unicode, beyond the controls among it.
    private static let spaces = #"\u0020\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000"#

    /// One line that is not blank.
    static let text = "^[^\(Self.controls)]*[^\(Self.controls)\(Self.spaces)][^\(Self.controls)]*$"

    static let withoutNUL = #"^[^\u0000]*$"#

    /// What `FieldRule.domain` takes, and nothing.
    static let domainOrEmpty = "^[^\(Self.controls)\(Self.spaces)" + #"\\/:*?"<>|@,]*$"#

    private static let label = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"

    /// Labels joined by dots.
    static let hostname = #"^\#(Self.label)(?:\.\#(Self.label))*$"#

    static let uuid = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

    private static let octet = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
    private static let v4 = #"(?:\#(Self.octet)\.){3}\#(Self.octet)"#

    /// RFC 3986 §3.2.2 spells out the same grammar: the form without `::`, then one with `::` for each number of groups
    /// before it.
    private static let v6: String = {
        let group = "[0-9A-Fa-f]{1,4}"
        // The last 32 bits.
        let tail = "(?:\(group):\(group)|\(Self.v4))"
        var forms = ["(?:\(group):){6}\(tail)"]
        for after in (0...5).reversed() {
            // `after` groups and the last 32 bits follow the `::`.
            forms.append("\(Self.groups(group, atMost: 5 - after))::(?:\(group):){\(after)}\(tail)")
        }
        forms.append("\(Self.groups(group, atMost: 6))::\(group)")
        forms.append("\(Self.groups(group, atMost: 7))::")
        return "(?:\(forms.joined(separator: "|")))"
    }()

    /// Up to so many groups with colons between them.
    private static func groups(_ group: String, atMost count: Int) -> String {
        switch count {
        case 0: ""
        case 1: "(?:\(group))?"
        default: "(?:(?:\(group):){0,\(count - 1)}\(group))?"
        }
    }

    static let address = "^(?:\(Self.v4)|\(Self.v6))$"

    /// CIDR notation; a bare address is a network of one.
    static let network =
        "^(?:\(Self.v4)(?:/(?:[0-9]|[12][0-9]|3[0-2]))?|\(Self.v6)(?:/(?:[0-9]|[1-9][0-9]|1[01][0-9]|12[0-8]))?)$"

    /// RFC 3339 with a year of 1970 to 9998; which days a month has, `date-time` says.
    static let time =
        "^(?:19[7-9][0-9]|[2-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])"
        + "-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
        + "[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?"
        + "(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$"
}
