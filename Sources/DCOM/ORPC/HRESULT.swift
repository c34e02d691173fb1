/// The result of a call: an HRESULT ([MS-ERREF] 2.1), or a status of RPC or Win32 in its place.
package struct HRESULT: RawRepresentable, NDRCodable {
    package var rawValue: UInt32

    package init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    package init(_ rawValue: UInt32) {
        self.rawValue = rawValue
    }

    package init(from reader: inout NDRReader) throws(NDRError) {
        self.rawValue = try reader.uint32()
    }

    package func encode(to writer: inout NDRWriter) {
        writer.uint32(self.rawValue)
    }

    /// Whether the severity bit says failure. Win32 codes have none: compare these with ``ok``.
    package var isFailure: Bool { self.rawValue & 0x8000_0000 != 0 }

    /// The name in Microsoft's headers, if it is one that these interfaces are known to give.
    package var name: String? { Self.names[self.rawValue] }
}

extension HRESULT: CustomStringConvertible {
    /// `0x80041003 WBEM_E_ACCESS_DENIED`
    package var description: String {
        let digits = String(self.rawValue, radix: 16, uppercase: true)
        let hex = "0x" + String(repeating: "0", count: 8 - digits.count) + digits
        return self.name.map { "\(hex) \($0)" } ?? hex
    }
}

// MARK: - Those that something depends on

extension HRESULT {
    package static let ok = HRESULT(0)

    // Of COM, and Win32 errors in its form ([MS-ERREF] 2.1.1).
    package static let notImplemented = HRESULT(0x8000_4001)
    package static let noInterface = HRESULT(0x8000_4002)
    package static let launchPermissionDenied = HRESULT(0x8000_401B)
    package static let connectionTerminated = HRESULT(0x8001_0006)
    package static let serverDied = HRESULT(0x8001_0007)
    package static let invalidDataPacket = HRESULT(0x8001_0009)
    package static let invalidData = HRESULT(0x8001_000F)
    package static let serverDiedBeforeExecuting = HRESULT(0x8001_0012)
    package static let outOfResources = HRESULT(0x8001_0101)
    package static let disconnected = HRESULT(0x8001_0108)
    package static let retry = HRESULT(0x8001_0109)
    package static let retryLater = HRESULT(0x8001_010A)
    package static let versionMismatch = HRESULT(0x8001_0110)
    package static let invalidHeader = HRESULT(0x8001_0111)
    package static let invalidExtension = HRESULT(0x8001_0112)
    package static let invalidIPID = HRESULT(0x8001_0113)
    package static let invalidObject = HRESULT(0x8001_0114)
    package static let callAccessDenied = HRESULT(0x8001_011B)
    package static let remoteDisabled = HRESULT(0x8001_011C)
    package static let invalidObjectReference = HRESULT(0x8001_011D)
    package static let callTimedOut = HRESULT(0x8001_011F)
    package static let classNotRegistered = HRESULT(0x8004_0154)
    package static let objectNotRegistered = HRESULT(0x8004_01FB)
    package static let objectNotConnected = HRESULT(0x8004_01FD)
    package static let accessDenied = HRESULT(0x8007_0005)
    package static let notEnoughMemory = HRESULT(0x8007_0008)
    package static let outOfMemory = HRESULT(0x8007_000E)
    package static let noSystemResources = HRESULT(0x8007_05AA)
    package static let serverUnavailable = HRESULT(0x8007_06BA)
    package static let serverTooBusy = HRESULT(0x8007_06BB)
    package static let callFailed = HRESULT(0x8007_06BE)
    package static let callFailedBeforeExecuting = HRESULT(0x8007_06BF)

    // Win32 errors that object resolvers return ([MS-ERREF] 2.2).
    package static let win32AccessDenied = HRESULT(5)
    package static let invalidOXID = HRESULT(1910)
    package static let invalidOID = HRESULT(1911)
    package static let invalidSet = HRESULT(1912)

    // [MS-WMI] 2.2.11.
    package static let wbemFalse = HRESULT(1)
    package static let wbemTimedOut = HRESULT(0x0004_0004)
    package static let wbemFailed = HRESULT(0x8004_1001)
    package static let wbemNotFound = HRESULT(0x8004_1002)
    package static let wbemAccessDenied = HRESULT(0x8004_1003)
    package static let wbemProviderFailure = HRESULT(0x8004_1004)
    package static let wbemOutOfMemory = HRESULT(0x8004_1006)
    package static let wbemNotSupported = HRESULT(0x8004_100C)
    package static let wbemInvalidNamespace = HRESULT(0x8004_100E)
    package static let wbemInvalidClass = HRESULT(0x8004_1010)
    package static let wbemTransportFailure = HRESULT(0x8004_1015)
    package static let wbemInvalidQuery = HRESULT(0x8004_1017)
    package static let wbemShuttingDown = HRESULT(0x8004_1033)
    package static let wbemOutOfDiskSpace = HRESULT(0x8004_103B)
    package static let wbemServerTooBusy = HRESULT(0x8004_1045)
    package static let wbemQueueOverflow = HRESULT(0x8004_1061)
    package static let wbemPrivilegeNotHeld = HRESULT(0x8004_1062)
    package static let wbemTimedOutError = HRESULT(0x8004_1069)
    package static let wbemQuotaViolation = HRESULT(0x8004_106C)
    package static let wbemEncryptedConnectionRequired = HRESULT(0x8004_1087)
    package static let wbemProviderTimedOut = HRESULT(0x8004_1088)
}
