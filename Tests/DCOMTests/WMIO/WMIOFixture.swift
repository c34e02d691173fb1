import Foundation
import Testing

/// Objects that others encoded; where they come from is told in Fixtures/WMIO/README.md.
enum WMIOFixture: String, CaseIterable, CustomTestStringConvertible {
    case baseClass = "spec-base-class"
    case myClass = "spec-myclass-class"
    case myInstance = "spec-myclass-instance"
    case myClass2 = "spec-myclass2-class"
    case parametersIn = "spec-parameters-in"
    case parametersOut = "spec-parameters-out"
    case utcTime = "impacket-utctime-instance"
    case activeScript = "impacket-activescript-spawned"
    case intervalTimer = "impacket-intervaltimer-spawned"
    case eventFilter = "impacket-eventfilter-spawned"
    case filterToConsumer = "impacket-filtertoconsumer-spawned"
    case processParameters = "windows-process-create-parameters"

    var testDescription: String { self.rawValue }

    /// Whether the object is valid; three that impacket made refer to a string as an array.
    var isValid: Bool {
        switch self {
        case .activeScript, .eventFilter, .filterToConsumer: false
        default: true
        }
    }

    var bytes: [UInt8] {
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Fixtures/WMIO/\(self.rawValue).hex")
        guard let text = try? String(contentsOf: file, encoding: .utf8) else { return [] }
        let digits = text.split(separator: "\n").filter { !$0.hasPrefix("#") }.joined().utf8.compactMap {
            Character(Unicode.Scalar($0)).hexDigitValue
        }
        return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}
