/// The status of a fault: one of C706's (appendix N), of Windows' RPC run-time, or an HRESULT of DCOM.
package struct RPCStatus: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    package static let accessDenied = RPCStatus(rawValue: 0x0000_0005)
    package static let logonFailure = RPCStatus(rawValue: 0x0000_052E)
    package static let unknownAuthenticationService = RPCStatus(rawValue: 0x0000_06D3)
    package static let unknownAuthenticationLevel = RPCStatus(rawValue: 0x0000_06D4)
    package static let rpcServerTooBusy = RPCStatus(rawValue: 0x0000_06BB)
    package static let rpcCallFailed = RPCStatus(rawValue: 0x0000_06BE)
    package static let rpcCallFailedDidNotExecute = RPCStatus(rawValue: 0x0000_06BF)
    package static let badStubData = RPCStatus(rawValue: 0x0000_06F7)
    package static let securityPackageError = RPCStatus(rawValue: 0x0000_0721)
    package static let operationRangeError = RPCStatus(rawValue: 0x1C01_0002)
    package static let unknownInterface = RPCStatus(rawValue: 0x1C01_0003)
    package static let protocolError = RPCStatus(rawValue: 0x1C01_000B)
    package static let serverTooBusy = RPCStatus(rawValue: 0x1C01_0014)
    package static let unsupportedType = RPCStatus(rawValue: 0x1C01_0017)
    package static let contextMismatch = RPCStatus(rawValue: 0x1C00_001A)
    package static let invalidPresentationContext = RPCStatus(rawValue: 0x1C00_001C)
    package static let unsupportedAuthenticationLevel = RPCStatus(rawValue: 0x1C00_001D)
    /// RPC_E_DISCONNECTED: the object exporter does not know the object (any more).
    package static let disconnected = RPCStatus(rawValue: 0x8001_0108)
    /// RPC_E_INVALID_OBJECT: the object exporter does not know the interface's IPID.
    package static let invalidObject = RPCStatus(rawValue: 0x8001_0114)

    /// The specification's name, for example `nca_s_op_rng_error`; nil for a status not known here.
    package var name: String? { Self.names[self.rawValue] }

    private static let names: [UInt32: String] = [
        0x0000_0005: "ERROR_ACCESS_DENIED",
        0x0000_000E: "ERROR_OUTOFMEMORY",
        0x0000_0057: "ERROR_INVALID_PARAMETER",
        0x0000_052E: "ERROR_LOGON_FAILURE",
        0x0000_06A6: "RPC_S_INVALID_BINDING",
        0x0000_06AE: "RPC_S_OBJECT_NOT_FOUND",
        0x0000_06B5: "RPC_S_UNKNOWN_IF",
        0x0000_06BA: "RPC_S_SERVER_UNAVAILABLE",
        0x0000_06BB: "RPC_S_SERVER_TOO_BUSY",
        0x0000_06BE: "RPC_S_CALL_FAILED",
        0x0000_06BF: "RPC_S_CALL_FAILED_DNE",
        0x0000_06C0: "RPC_S_PROTOCOL_ERROR",
        0x0000_06C2: "RPC_S_UNSUPPORTED_TRANS_SYN",
        0x0000_06D1: "RPC_S_PROCNUM_OUT_OF_RANGE",
        0x0000_06D3: "RPC_S_UNKNOWN_AUTHN_SERVICE",
        0x0000_06D4: "RPC_S_UNKNOWN_AUTHN_LEVEL",
        0x0000_06D5: "RPC_S_INVALID_AUTH_IDENTITY",
        0x0000_06D8: "EPT_S_CANT_PERFORM_OP",
        0x0000_06D9: "EPT_S_NOT_REGISTERED",
        0x0000_06E4: "RPC_S_CANNOT_SUPPORT",
        0x0000_06E6: "RPC_S_INTERNAL_ERROR",
        0x0000_06F7: "RPC_X_BAD_STUB_DATA",
        0x0000_071A: "RPC_S_CALL_CANCELLED",
        0x0000_0721: "RPC_S_SEC_PKG_ERROR",
        0x1C00_0001: "nca_s_fault_int_div_by_zero",
        0x1C00_0002: "nca_s_fault_addr_error",
        0x1C00_0006: "nca_s_fault_invalid_tag",
        0x1C00_0007: "nca_s_fault_invalid_bound",
        0x1C00_0008: "nca_s_rpc_version_mismatch",
        0x1C00_0009: "nca_s_unspec_reject",
        0x1C00_000A: "nca_s_bad_actid",
        0x1C00_000B: "nca_s_who_are_you_failed",
        0x1C00_000C: "nca_s_manager_not_entered",
        0x1C00_000D: "nca_s_fault_cancel",
        0x1C00_0012: "nca_s_fault_unspec",
        0x1C00_0014: "nca_s_fault_pipe_empty",
        0x1C00_001A: "nca_s_fault_context_mismatch",
        0x1C00_001B: "nca_s_fault_remote_no_memory",
        0x1C00_001C: "nca_s_invalid_pres_context_id",
        0x1C00_001D: "nca_s_unsupported_authn_level",
        0x1C00_001F: "nca_s_invalid_checksum",
        0x1C00_0020: "nca_s_invalid_crc",
        0x1C00_0021: "nca_s_fault_user_defined",
        0x1C01_0001: "nca_s_comm_failure",
        0x1C01_0002: "nca_s_op_rng_error",
        0x1C01_0003: "nca_s_unk_if",
        0x1C01_0006: "nca_s_wrong_boot_time",
        0x1C01_0009: "nca_s_you_crashed",
        0x1C01_000B: "nca_s_proto_error",
        0x1C01_0013: "nca_s_out_args_too_big",
        0x1C01_0014: "nca_s_server_too_busy",
        0x1C01_0015: "nca_s_fault_string_too_long",
        0x1C01_0017: "nca_s_unsupported_type",
        0x8001_0108: "RPC_E_DISCONNECTED",
        0x8001_0110: "RPC_E_VERSION_MISMATCH",
        0x8001_0111: "RPC_E_INVALID_HEADER",
        0x8001_0112: "RPC_E_INVALID_EXTENSION",
        0x8001_0113: "RPC_E_INVALID_IPID",
        0x8001_0114: "RPC_E_INVALID_OBJECT",
        0x8007_0005: "E_ACCESSDENIED",
    ]
}

extension RPCStatus: CustomStringConvertible {
    package var description: String {
        let digits = String(self.rawValue, radix: 16)
        let code = "0x" + String(repeating: "0", count: 8 - digits.count) + digits
        return self.name.map { "\($0) (\(code))" } ?? code
    }
}
