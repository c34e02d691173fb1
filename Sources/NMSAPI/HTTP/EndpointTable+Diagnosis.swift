internal import HTTPTypes
internal import NMSStorage

extension EndpointTable {
    static func diagnosis(_ diagnosis: DiagnosisController) -> [Endpoint] {
        [
            Endpoint(
                .post,
                "\(Self.base)/devices/{id}/test",
                .role(.operator),
                Operation(
                    id: "testDevice",
                    tag: .devices,
                    summary: "Test whether a device can be polled",
                    description:
                        "Goes the way of a poll step by step, over a connection of its own, and says where it ends, "
                        + "why, and what can be done about it. It takes ten seconds at most, and at most one login "
                        + "fails on the host. The credential need not be one of the device's.",
                    answer: .ok("What was found, good or bad"),
                    errors: [
                        .notFound: "There is no such device or credential",
                        .conflict: "The device has no credential and none was given",
                        .targetNotAllowed:
                            "The address is outside of the server's `targets.allow` or of the credential's "
                            + "`allowed_targets`",
                        .rateLimited: "Too many requests, or too many tests at once",
                    ],
                    links: Link.withSameID("getDevice", "pollDevice")
                ),
                handler: diagnosis.test
            )
        ]
    }
}
