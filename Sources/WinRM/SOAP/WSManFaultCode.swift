/// A code of a WS-Management fault on Windows: a Win32 error or an HRESULT.
///
/// Names and numbers are those of `wsmerror.h`, `winerror.h` and the `WBEMSTATUS` enumeration ([MS-WMI] 2.2.11).
package struct WSManFaultCode: Sendable, Hashable, CustomStringConvertible {
    package let rawValue: UInt32

    package init(_ rawValue: UInt32) {
        self.rawValue = rawValue
    }

    // MARK: Access

    /// `ERROR_ACCESS_DENIED`
    package static let accessDenied = WSManFaultCode(5)
    /// `E_ACCESSDENIED`
    package static let accessDeniedHRESULT = WSManFaultCode(0x8007_0005)
    /// `WBEM_E_ACCESS_DENIED`: the account may not read this namespace.
    package static let wmiAccessDenied = WSManFaultCode(0x8004_1003)
    /// `WBEM_E_PRIVILEGE_NOT_HELD`
    package static let wmiPrivilegeNotHeld = WSManFaultCode(0x8004_1062)

    // MARK: Requests that the host cannot serve

    /// `ERROR_WSMAN_RESOURCE_NOT_FOUND`: nothing lies at the resource URI.
    package static let resourceNotFound = WSManFaultCode(2_150_858_752)
    /// `ERROR_WSMAN_ENUMERATE_CANNOT_PROCESS_FILTER`: a class that is not there, or WQL that is wrong.
    package static let cannotProcessFilter = WSManFaultCode(2_150_858_778)
    /// `ERROR_WSMAN_ENUMERATE_INVALID_ENUMERATION_CONTEXT`
    package static let invalidEnumerationContext = WSManFaultCode(2_150_858_779)
    /// `ERROR_WSMAN_INVALID_RESOURCE_URI`
    package static let invalidResourceURI = WSManFaultCode(2_150_858_811)
    /// `ERROR_WSMAN_SCHEMA_VALIDATION_ERROR`
    package static let schemaValidationError = WSManFaultCode(2_150_858_817)
    /// `ERROR_WSMAN_UNEXPECTED_SELECTORS`, which a shell that is gone answers.
    package static let unexpectedSelectors = WSManFaultCode(2_150_858_843)
    /// `WBEM_E_NOT_FOUND`
    package static let wmiNotFound = WSManFaultCode(0x8004_1002)
    /// `WBEM_E_INVALID_NAMESPACE`
    package static let wmiInvalidNamespace = WSManFaultCode(0x8004_100E)
    /// `WBEM_E_INVALID_CLASS`
    package static let wmiInvalidClass = WSManFaultCode(0x8004_1010)
    /// `WBEM_E_INVALID_QUERY`
    package static let wmiInvalidQuery = WSManFaultCode(0x8004_1017)

    // MARK: Time and size

    /// `ERROR_WSMAN_ENUMERATE_TIMED_OUT`
    package static let enumerateTimedOut = WSManFaultCode(2_150_858_780)
    /// `ERROR_WSMAN_OPERATION_TIMEDOUT`: the `OperationTimeout` that was asked for has passed.
    package static let operationTimedOut = WSManFaultCode(2_150_858_793)
    /// `ERROR_WSMAN_ENVELOPE_TOO_LARGE`
    package static let envelopeTooLarge = WSManFaultCode(2_150_858_790)
    /// `ERROR_WSMAN_MAX_ENVELOPE_SIZE`
    package static let maximumEnvelopeSize = WSManFaultCode(2_150_858_823)
    /// `ERROR_WSMAN_MAX_ENVELOPE_SIZE_EXCEEDED`
    package static let maximumEnvelopeSizeExceeded = WSManFaultCode(2_150_858_824)
    /// `ERROR_WSMAN_MIN_ENVELOPE_SIZE`: a reply limit below 8,192 bytes was asked for.
    package static let minimumEnvelopeSize = WSManFaultCode(2_150_858_878)

    // MARK: Quotas

    /// `ERROR_WSMAN_QUOTA_LIMIT`
    package static let quotaLimit = WSManFaultCode(2_150_858_815)
    /// `ERROR_WSMAN_QUOTA_MAX_SHELLS`
    package static let quotaMaximumShells = WSManFaultCode(2_150_859_173)
    /// `ERROR_WSMAN_QUOTA_MAX_OPERATIONS`: the account's concurrent operations.
    package static let quotaMaximumOperations = WSManFaultCode(2_150_859_174)
    /// `ERROR_WSMAN_QUOTA_USER`
    package static let quotaUser = WSManFaultCode(2_150_859_175)
    /// `ERROR_WSMAN_QUOTA_SYSTEM`
    package static let quotaSystem = WSManFaultCode(2_150_859_176)
    /// `ERROR_WSMAN_QUOTA_MAX_SHELLUSERS`
    package static let quotaMaximumShellUsers = WSManFaultCode(2_150_859_179)
    /// `ERROR_WSMAN_QUOTA_MAX_SHELLS_PPQ`, the first of the quotas per plug-in.
    package static let quotaMaximumShellsPerPlugin = WSManFaultCode(2_150_859_236)
    /// `ERROR_WSMAN_QUOTA_MAX_USERS_PPQ`
    package static let quotaMaximumUsersPerPlugin = WSManFaultCode(2_150_859_237)
    /// `ERROR_WSMAN_QUOTA_MAX_PLUGINSHELLS_PPQ`
    package static let quotaMaximumPluginShells = WSManFaultCode(2_150_859_238)
    /// `ERROR_WSMAN_QUOTA_MAX_PLUGINOPERATIONS_PPQ`
    package static let quotaMaximumPluginOperations = WSManFaultCode(2_150_859_239)
    /// `ERROR_WSMAN_QUOTA_MAX_OPERATIONS_USER_PPQ`
    package static let quotaMaximumOperationsOfUser = WSManFaultCode(2_150_859_240)
    /// `ERROR_WSMAN_QUOTA_MAX_COMMANDS_PER_SHELL_PPQ`
    package static let quotaMaximumCommandsPerShell = WSManFaultCode(2_150_859_241)
    /// `ERROR_WSMAN_QUOTA_MIN_REQUIREMENT_NOT_AVAILABLE_PPQ`
    package static let quotaMinimumNotAvailable = WSManFaultCode(2_150_859_242)
    /// `WBEM_E_QUOTA_VIOLATION`
    package static let wmiQuotaViolation = WSManFaultCode(0x8004_106C)

    // MARK: Kinds

    static let accessCodes: Set<WSManFaultCode> = [
        .accessDenied, .accessDeniedHRESULT, .wmiAccessDenied, .wmiPrivilegeNotHeld,
    ]
    static let quotaCodes: Set<WSManFaultCode> = [
        .quotaLimit, .quotaMaximumShells, .quotaMaximumOperations, .quotaUser, .quotaSystem, .quotaMaximumShellUsers,
        .quotaMaximumShellsPerPlugin, .quotaMaximumUsersPerPlugin, .quotaMaximumPluginShells,
        .quotaMaximumPluginOperations, .quotaMaximumOperationsOfUser, .quotaMaximumCommandsPerShell,
        .quotaMinimumNotAvailable, .wmiQuotaViolation,
    ]
    static let timeoutCodes: Set<WSManFaultCode> = [.operationTimedOut, .enumerateTimedOut]
    static let sizeCodes: Set<WSManFaultCode> = [
        .envelopeTooLarge, .maximumEnvelopeSize, .maximumEnvelopeSizeExceeded, .minimumEnvelopeSize,
    ]
    static let missingClassCodes: Set<WSManFaultCode> = [
        .resourceNotFound, .cannotProcessFilter, .invalidResourceURI, .wmiNotFound, .wmiInvalidNamespace,
        .wmiInvalidClass,
    ]

    /// Small codes in decimal, HRESULTs in decimal and hexadecimal, as both are used in documentation.
    package var description: String {
        self.rawValue < 0x1_0000
            ? String(self.rawValue) : "\(self.rawValue) (0x\(String(self.rawValue, radix: 16, uppercase: true)))"
    }
}
