import DCOM
import Testing

@Test("The endpoint mapper listens on port 135") func endpointMapperPort() {
    #expect(DCOM.endpointMapperPort == 135)
}
