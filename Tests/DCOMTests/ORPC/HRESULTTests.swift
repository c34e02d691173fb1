import Testing

@testable import DCOM

@Suite struct HRESULTTests {
    @Test func saysItsNumberAndName() {
        #expect(HRESULT(0x8004_1003).description == "0x80041003 WBEM_E_ACCESS_DENIED")
        #expect(HRESULT(0x8001_0108).description == "0x80010108 RPC_E_DISCONNECTED")
        #expect(HRESULT(0x8004_1069).description == "0x80041069 WBEM_E_TIMED_OUT")
        #expect(HRESULT(0x8BAD_F00D).description == "0x8BADF00D")
        #expect(HRESULT(1912).description == "0x00000778 OR_INVALID_SET")
    }

    @Test func theSeverityBitSaysFailure() {
        #expect(HRESULT.wbemFailed.isFailure)
        #expect(!HRESULT.wbemFalse.isFailure)
        #expect(!HRESULT.wbemTimedOut.isFailure)
        #expect(!HRESULT.win32AccessDenied.isFailure)
    }

    @Test func versionsAreNegotiatedDown() {
        #expect(COMVersion.current.negotiated(with: COMVersion(major: 5, minor: 6)) == COMVersion(major: 5, minor: 6))
        #expect(COMVersion.current.negotiated(with: COMVersion(major: 5, minor: 9)) == .current)
        #expect(COMVersion.current.negotiated(with: COMVersion(major: 6, minor: 0)) == nil)
    }
}
