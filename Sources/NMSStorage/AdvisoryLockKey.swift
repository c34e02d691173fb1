/// PostgreSQL advisory locks that instances of NMSlite agree on; the numbers are part of that contract.
package enum AdvisoryLockKey: Int64, Sendable, CaseIterable {
    case migrations = 0x6E6D_736C_0001
    case firstUser = 0x6E6D_736C_0002
    case partitions = 0x6E6D_736C_0003
    case schedulerLeader = 0x6E6D_736C_0004
    case historyRollUp = 0x6E6D_736C_0005
    case discoveries = 0x6E6D_736C_0006
    case masterKeyRotation = 0x6E6D_736C_0007
}
