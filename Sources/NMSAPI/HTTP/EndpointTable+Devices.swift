internal import HTTPTypes
internal import NMSStorage

extension EndpointTable {
    private static let addressIsTaken = "Another device has this `ip`"
    private static let outsideOfTargets = "The address is outside of the server's `targets.allow`"
    private static let outsideOfAny =
        "The address is outside of the server's `targets.allow` or of a credential's `allowed_targets`"
    private static let queueIsDown = "The database or the queue does not answer now"

    static func devices(_ devices: DeviceController) -> [Endpoint] {
        [
            Endpoint(
                .get,
                "\(Self.base)/devices",
                .role(.viewer),
                Operation(
                    id: "listDevices",
                    tag: .devices,
                    summary: "List devices",
                    answer: .ok("A part of the list"),
                    links: Link.withID("getDevice", "getLatestMetrics", from: "/data/devices/0/id")
                ),
                handler: devices.list
            ),
            Endpoint(
                .post,
                "\(Self.base)/devices",
                .role(.operator),
                Operation(
                    id: "createDevice",
                    tag: .devices,
                    summary: "Create a device",
                    description: "It is monitored once it is provisioned.",
                    answer: .created("The device"),
                    errors: [.conflict: Self.addressIsTaken, .targetNotAllowed: Self.outsideOfTargets],
                    links: Link.withID(
                        "getDevice",
                        "updateDevice",
                        "deleteDevice",
                        "provisionDevice",
                        "deprovisionDevice",
                        "pollDevice",
                        "testDevice",
                        "getLatestMetrics",
                        "getMetricsHistory"
                    )
                ),
                handler: devices.create
            ),
            Endpoint(
                .get,
                "\(Self.base)/devices/{id}",
                .role(.viewer),
                Operation(
                    id: "getDevice",
                    tag: .devices,
                    summary: "Get a device",
                    description: "At most a second old.",
                    answer: .ok("The device")
                ),
                handler: devices.get
            ),
            Endpoint(
                .put,
                "\(Self.base)/devices/{id}",
                .role(.operator),
                Operation(
                    id: "updateDevice",
                    tag: .devices,
                    summary: "Change a device",
                    description: "What is left out stays as it is.",
                    answer: .ok("The device as it is now"),
                    errors: [.conflict: Self.addressIsTaken, .targetNotAllowed: Self.outsideOfAny],
                    links: Link.withSameID("getDevice", "deleteDevice")
                ),
                handler: devices.update
            ),
            Endpoint(
                .delete,
                "\(Self.base)/devices/{id}",
                .role(.operator),
                Operation(
                    id: "deleteDevice",
                    tag: .devices,
                    summary: "Delete a device and its metrics",
                    answer: .ok("It is gone")
                ),
                handler: devices.delete
            ),
            Endpoint(
                .post,
                "\(Self.base)/devices/{id}/provision",
                .role(.operator),
                Operation(
                    id: "provisionDevice",
                    tag: .devices,
                    summary: "Start monitoring",
                    description: "Takes one credential, or several that are tried in order. On a device that is "
                        + "monitored already it replaces the choice. The first poll starts at once.",
                    answer: .ok("It is monitored from now on"),
                    errors: [
                        .notFound: "There is no such device or credential",
                        .targetNotAllowed: Self.outsideOfAny,
                        .serviceUnavailable: Self.queueIsDown,
                    ],
                    links: Link.withSameID("getDevice", "pollDevice", "getLatestMetrics", "deprovisionDevice")
                ),
                handler: devices.provision
            ),
            Endpoint(
                .post,
                "\(Self.base)/devices/{id}/deprovision",
                .role(.operator),
                Operation(
                    id: "deprovisionDevice",
                    tag: .devices,
                    summary: "End monitoring",
                    description: "The device is `discovered` again; polls of it that are queued do nothing.",
                    answer: .ok("It is no longer monitored"),
                    links: Link.withSameID("getDevice", "deleteDevice")
                ),
                handler: devices.deprovision
            ),
            Endpoint(
                .post,
                "\(Self.base)/devices/{id}/poll",
                .role(.operator),
                Operation(
                    id: "pollDevice",
                    tag: .devices,
                    summary: "Poll a device outside of its schedule",
                    answer: .accepted("The poll is queued"),
                    errors: [
                        .conflict: "The device is not provisioned",
                        .targetNotAllowed: Self.outsideOfTargets,
                        .serviceUnavailable: Self.queueIsDown,
                    ],
                    links: Link.withSameID("getLatestMetrics")
                ),
                handler: devices.poll
            ),
        ]
    }

    static func metrics(_ metrics: MetricsController) -> [Endpoint] {
        [
            Endpoint(
                .get,
                "\(Self.base)/devices/{id}/metrics",
                .role(.viewer),
                Operation(
                    id: "getLatestMetrics",
                    tag: .metrics,
                    summary: "Get the latest metrics of a device",
                    answer: .ok("What the last good poll measured; null is not known"),
                    errors: [.notFound: "There is no such device, or nothing was measured yet"],
                    links: Link.withSameID("getMetricsHistory")
                ),
                handler: metrics.latest
            ),
            Endpoint(
                .get,
                "\(Self.base)/devices/{id}/metrics/history",
                .role(.viewer),
                Operation(
                    id: "getMetricsHistory",
                    tag: .metrics,
                    summary: "Get the metrics of a device over time",
                    description:
                        "Rows with `from` <= timestamp < `to`, ascending, as they are (`raw`) or in buckets that "
                        + "start at whole multiples of `interval` in UTC. Buckets without rows are left out. `auto` takes "
                        + "the finest interval whose buckets fit `limit`.",
                    answer: .ok("The points"),
                    rules: [Self.orderOfTimes]
                ),
                handler: metrics.history
            ),
        ]
    }
}
