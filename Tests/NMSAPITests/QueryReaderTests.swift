import Foundation
import Testing

@testable import NMSAPI

@Suite struct QueryReaderTests {
    @Test func readsWhatIsThere() throws {
        var query = try QueryReader(
            "limit=5&search=a%20b+c&from=2025-12-03T10:00:00%2B01:00&to=2025-12-03T10:00:00+01:00"
        )
        #expect(query.integer("limit", "", 1...10, default: 3) == 5)
        #expect(query.integer("offset", "", 0...10, default: 3) == 3)
        #expect(query.text("search") == "a b c")
        #expect(query.time("from")?.timeIntervalSince1970 == 1_764_752_400)
        #expect(query.time("to")?.timeIntervalSince1970 == 1_764_752_400)
        try query.finish()
    }

    @Test(arguments: ["a=%zz", "a=%2", "a=%", "a=%FF", "a=%00", "%ff=1"])
    func malformedEscapesAreRefused(text: String) {
        let error = #expect(throws: ServiceError.self) { try QueryReader(text) }
        #expect(error?.code == .validationError)
    }

    @Test func everythingWrongIsNamed() throws {
        var query = try QueryReader("limit=0&limit=1&bogus=1&from=yesterday")
        _ = query.integer("limit", "", 1...10, default: 3)
        _ = query.time("from")
        let error = #expect(throws: ServiceError.self) { try query.finish() }
        #expect(error?.details?.errors?.map(\.field) == ["limit", "from", "bogus"])
    }
}
