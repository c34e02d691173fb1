/// Parts of the way to a query, for whoever wants to know how far it goes.
extension WMIConnection {
    /// What the host named as ways to WMI's process; empty unless the activation is done and the process not entered yet.
    package var exporterBindings: [StringBinding] {
        guard case .activated(let activation) = self.state else { return [] }
        return activation.bindings
    }

    /// Opens a namespace, which the first query there would do by itself.
    ///
    /// - Throws: `accessDenied` (the user lacks rights on the namespace) and the errors of every call.
    package func open(namespace: String, deadline: ContinuousClock.Instant) async throws(WMIError) {
        guard self.isOpen else { throw .closed }
        do throws(WMIError) {
            try await self.shielded(.openingNamespace) { connection, _ in
                do throws(WMIError) {
                    _ = try await connection.openNamespace(namespace, deadline: deadline)
                    return .success(())
                } catch {
                    return .failure(error)
                }
            }
        } catch {
            if !error.leavesConnectionOpen { self.health.close() }
            throw error
        }
    }
}
