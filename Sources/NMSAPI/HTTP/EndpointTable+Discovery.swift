internal import HTTPTypes
internal import NMSStorage

extension EndpointTable {
    static func discoveries(_ discoveries: DiscoveryController) -> [Endpoint] {
        [
            Endpoint(
                .post,
                "\(Self.base)/devices/discover",
                .role(.operator),
                Operation(
                    id: "startDiscovery",
                    tag: .discoveries,
                    summary: "Search a subnet for Windows machines",
                    description: "What is found becomes a device with the status `discovered`, or refreshes the device "
                        + "that has its address, whose settings stay as they are.",
                    answer: .accepted("The discovery is queued"),
                    errors: [
                        .notFound: "There is no such credential",
                        .conflict: "A discovery that is queued or running has addresses in common with this one",
                        .targetNotAllowed: "An address is outside of the server's `targets.allow`",
                    ],
                    rules: [
                        "`subnet` and `exclude` must be subnets (IPv4 /16, IPv6 /112 at most), addresses or ranges",
                        "at least one address must be left, and no more than the server's `discovery.max_addresses`",
                    ],
                    links: Link.withID("getDiscovery", "cancelDiscovery", from: "/data/discovery_id")
                ),
                handler: discoveries.start
            ),
            Endpoint(
                .get,
                "\(Self.base)/discoveries",
                .role(.viewer),
                Operation(
                    id: "listDiscoveries",
                    tag: .discoveries,
                    summary: "List discoveries, the latest first",
                    answer: .ok("A part of the list"),
                    links: Link.withID("getDiscovery", from: "/data/discoveries/0/discovery_id")
                ),
                handler: discoveries.list
            ),
            Endpoint(
                .get,
                "\(Self.base)/discoveries/{id}",
                .role(.viewer),
                Operation(
                    id: "getDiscovery",
                    tag: .discoveries,
                    summary: "Get a discovery with its progress and a part of what it found",
                    description: "`limit` and `offset` choose among `devices`, which are in the order of addresses.",
                    answer: .ok("The discovery"),
                    links: Link.withSameID("cancelDiscovery")
                ),
                handler: discoveries.get
            ),
            Endpoint(
                .delete,
                "\(Self.base)/discoveries/{id}",
                .role(.operator),
                Operation(
                    id: "cancelDiscovery",
                    tag: .discoveries,
                    summary: "Cancel a discovery",
                    description:
                        "No host is dialled a second later, on whichever instance it runs. What was found stays. "
                        + "Cancelling twice is no error.",
                    answer: .ok("The discovery, cancelled"),
                    errors: [.conflict: "It is completed or failed already"]
                ),
                handler: discoveries.cancel
            ),
        ]
    }
}
