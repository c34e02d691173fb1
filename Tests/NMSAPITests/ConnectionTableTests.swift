import Testing

@testable import NMSAPI

@Suite struct ConnectionTableTests {
    private let hoarder = ClientKey("192.0.2.1")
    private let other = ClientKey("192.0.2.2")

    @Test func thereIsRoomUpToTheLimit() {
        var table = ConnectionTable<Int>(limit: 3)
        for id in 0..<3 { #expect(table.open(id, client: self.hoarder) == .admitted) }
        table.close(1)
        table.close(1)
        #expect(table.count == 2)
        #expect(table.open(3, client: self.hoarder) == .admitted)
    }

    @Test func theOneUnusedForLongestGoes() {
        var table = ConnectionTable<Int>(limit: 3)
        for id in 0..<3 { _ = table.open(id, client: self.hoarder) }
        table.requestBegan(0)
        table.requestEnded(0)
        #expect(table.open(3, client: self.hoarder) == .insteadOf(1))
        #expect(table.open(4, client: self.hoarder) == .insteadOf(2))
        #expect(table.open(5, client: self.hoarder) == .insteadOf(0))
        #expect(table.count == 3)
    }

    @Test func whoHasMostLoses() {
        var table = ConnectionTable<Int>(limit: 4)
        _ = table.open(0, client: self.other)
        for id in 1..<4 { _ = table.open(id, client: self.hoarder) }
        #expect(table.open(4, client: self.other) == .insteadOf(1))
        // Two and two: whoever wants a third one pays for it.
        #expect(table.open(5, client: self.hoarder) == .insteadOf(2))
        #expect(table.open(6, client: self.other) == .insteadOf(0))
    }

    @Test func whoeverIsServedStays() {
        var table = ConnectionTable<Int>(limit: 2)
        for id in 0..<2 {
            _ = table.open(id, client: self.hoarder)
            table.requestBegan(id)
        }
        #expect(table.open(2, client: self.other) == .refused)
        #expect(table.count == 2)
        table.requestBegan(0)
        table.requestEnded(0)
        #expect(table.open(2, client: self.other) == .refused)
        table.requestEnded(0)
        #expect(table.open(2, client: self.other) == .insteadOf(0))
    }
}
