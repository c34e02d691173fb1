internal import NMSCore

/// The body of `POST /devices/discover`.
struct DiscoverRequest: RequestBody {
    static let example: JSONValue = [
        "subnet": "192.168.1.0/24", "credential_ids": [1], "exclude": ["192.168.1.1"],
    ]

    /// What text of targets may have, and the number of exclusions: what their parser takes.
    static let maximumSubnetLength = 16_384
    static let maximumExclusions = 1_000
    static let maximumExclusionLength = 100
    static let maximumPorts = 16

    /// `auto_provision` needs `credential_ids`.
    private static let autoProvisionSchema: JSONValue = [
        ["properties": ["auto_provision": ["const": false]]], ["required": ["credential_ids"]],
    ]

    let subnet: String
    let exclude: [String]
    let options: DiscoveryOptions

    init(_ fields: inout FieldReader) throws(ServiceError) {
        let subnet = fields.required(
            "subnet",
            .text(atMost: Self.maximumSubnetLength).described(
                "A subnet in CIDR notation, an address, a range such as 10.0.0.5-9 or 10.0.0.5-10.0.1.9, or several of "
                    + "them with commas between; network and broadcast addresses of subnets are skipped."
            )
        )
        let exclude = fields.optional(
            "exclude",
            .array(of: .text(atMost: Self.maximumExclusionLength), 1...Self.maximumExclusions, unique: true)
                .described("Subnets, addresses and ranges that are left out.")
        )
        let credentialIDs = fields.optional(
            "credential_ids",
            .ids(atMost: ProvisionRequest.maximumCredentials).described(
                "Credentials to sign in with, in the order in which they are tried; without them machines are "
                    + "identified by what they tell anyone."
            )
        )
        let ports = fields.optional(
            "ports",
            .array(of: .port, 1...Self.maximumPorts, unique: true)
                .described("TCP ports to dial; without them 5985, 5986, 135 and 445.")
        )
        let autoProvision = fields.optional(
            "auto_provision",
            .bool.described("Whether devices that a credential opened are monitored with it at once.")
        )
        let interval = fields.optional(
            "polling_interval",
            .pollingInterval.described(
                "In seconds, of new devices and of those that `auto_provision` provisions; without it, the server's "
                    + "`polling.default_interval`."
            )
        )
        fields.declare("anyOf", Self.autoProvisionSchema)
        if fields.errors.isEmpty, autoProvision == true, credentialIDs == nil {
            fields.note("auto_provision", "auto_provision needs credential_ids: only what one opens is provisioned")
        }
        try fields.finish()
        guard let subnet else { throw ServiceError(.validationError, "The request is not valid") }
        self.subnet = subnet
        self.exclude = exclude ?? []
        self.options = DiscoveryOptions(
            credentialIDs: credentialIDs ?? [],
            ports: ports,
            autoProvision: autoProvision ?? false,
            pollingInterval: interval
        )
    }
}
