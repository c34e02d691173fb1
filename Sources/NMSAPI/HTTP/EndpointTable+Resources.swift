internal import HTTPTypes
internal import Hummingbird
internal import NMSStorage

extension EndpointTable {
    static func auth(_ auth: AuthController) -> [Endpoint] {
        [
            Endpoint(
                .post,
                "\(Self.base)/auth/login",
                .open,
                Operation(
                    id: "login",
                    tag: .auth,
                    summary: "Log in",
                    description: "Failed logins are counted by user and address; too many are refused for a while.",
                    answer: .ok("A session's first pair of tokens"),
                    errors: [
                        .unauthorized: "The user is unknown or the password wrong; which of the two is not said",
                        .rateLimited: "Too many failed logins, or too many requests of this client",
                    ],
                    rules: ["`password` has at most 72 bytes in UTF-8, which is all that bcrypt takes."],
                    links: [Link("refresh", body: ["refresh_token": "$response.body#/data/refresh_token"])]
                ),
                handler: auth.login
            ),
            Endpoint(
                .post,
                "\(Self.base)/auth/refresh",
                .open,
                Operation(
                    id: "refresh",
                    tag: .auth,
                    summary: "Exchange a refresh token for a new pair",
                    description: "Each refresh token is good for one use. One that comes a second time was stolen from "
                        + "somebody: its whole session ends.",
                    answer: .ok("The session's next pair of tokens"),
                    errors: [.unauthorized: "The refresh token is unknown, expired or used already"],
                    links: [Link("refresh", body: ["refresh_token": "$response.body#/data/refresh_token"])]
                ),
                handler: auth.refresh
            ),
            Endpoint(
                .post,
                "\(Self.base)/auth/logout",
                .role(.viewer),
                Operation(
                    id: "logout",
                    tag: .auth,
                    summary: "End the caller's session",
                    description: "Its refresh token ends at once, its access tokens within five seconds.",
                    answer: .ok("The session has ended")
                ),
                handler: auth.logout
            ),
        ]
    }

    static func credentials(_ credentials: CredentialController) -> [Endpoint] {
        let nameIsTaken = "Another credential has this `name`"
        return [
            Endpoint(
                .get,
                "\(Self.base)/credentials",
                .role(.viewer),
                Operation(
                    id: "listCredentials",
                    tag: .credentials,
                    summary: "List credentials",
                    answer: .ok("A part of the list"),
                    links: Link.withID("getCredential", from: "/data/credentials/0/id")
                ),
                handler: credentials.list
            ),
            Endpoint(
                .post,
                "\(Self.base)/credentials",
                .role(.operator),
                Operation(
                    id: "createCredential",
                    tag: .credentials,
                    summary: "Create a credential",
                    description: "`winrm_basic` needs a `username` without a colon, and `use_ssl` or "
                        + "`allow_unencrypted_basic`.",
                    answer: .created("The credential, without its password"),
                    errors: [.conflict: nameIsTaken],
                    rules: [Self.mappedNetworks],
                    links: Link.withID("getCredential", "updateCredential", "deleteCredential", "resumeCredential") + [
                        Link("provisionDevice", body: ["credential_id": "$response.body#/data/id"])
                    ]
                ),
                handler: credentials.create
            ),
            Endpoint(
                .get,
                "\(Self.base)/credentials/{id}",
                .role(.viewer),
                Operation(
                    id: "getCredential",
                    tag: .credentials,
                    summary: "Get a credential",
                    answer: .ok("The credential, without its password")
                ),
                handler: credentials.get
            ),
            Endpoint(
                .put,
                "\(Self.base)/credentials/{id}",
                .role(.operator),
                Operation(
                    id: "updateCredential",
                    tag: .credentials,
                    summary: "Change a credential",
                    description: "What is left out stays as it is. Another password, user name, domain or type ends a "
                        + "suspension. Only an admin may protect the stored password less (another type, no "
                        + "`use_ssl`, a weaker `tls_verify`, `allow_unencrypted_basic`, more `allowed_targets`) without "
                        + "giving it anew.",
                    answer: .ok("The credential as it is now"),
                    errors: [
                        .conflict: nameIsTaken,
                        .forbidden: "The role is not enough, or the stored password would be protected less",
                    ],
                    rules: [
                        "The credential as it would be after the change keeps the rules of a new one: `winrm_basic` "
                            + "needs a `username` without a colon, and `use_ssl` or `allow_unencrypted_basic`.",
                        Self.mappedNetworks,
                    ],
                    links: Link.withSameID("getCredential", "deleteCredential")
                ),
                handler: credentials.update
            ),
            Endpoint(
                .delete,
                "\(Self.base)/credentials/{id}",
                .role(.operator),
                Operation(
                    id: "deleteCredential",
                    tag: .credentials,
                    summary: "Delete a credential",
                    answer: .ok("It is gone"),
                    errors: [.conflict: "Devices use it; `details.device_ids` names them"]
                ),
                handler: credentials.delete
            ),
            Endpoint(
                .post,
                "\(Self.base)/credentials/{id}/resume",
                .role(.operator),
                Operation(
                    id: "resumeCredential",
                    tag: .credentials,
                    summary: "End a suspension",
                    description: "The lockout guard suspends a credential, or its use on one device, after failed "
                        + "sign-ins; this ends both.",
                    answer: .ok("The credential as it is now"),
                    links: Link.withSameID("getCredential")
                ),
                handler: credentials.resume
            ),
        ]
    }

    private static let mappedNetworks =
        "A network of IPv4-mapped addresses (`::ffff:192.168.1.0/120`) in `allowed_targets` has a prefix of 96 or more."

    static func audit(_ audit: AuditController) -> [Endpoint] {
        [
            Endpoint(
                .get,
                "\(Self.base)/audit",
                .role(.admin),
                Operation(
                    id: "listAudit",
                    tag: .audit,
                    summary: "List who changed what and when",
                    description: "The latest first. Nothing is ever changed or removed here, and no secret is in it.",
                    answer: .ok("A part of the list"),
                    rules: [Self.orderOfTimes]
                ),
                handler: audit.list
            )
        ]
    }

    static let orderOfTimes = "`from` is before `to`."

    static func health(_ health: HealthController) -> [Endpoint] {
        [("\(Self.base)/health", "getHealth"), ("/health", "getRootHealth")].map { path, id in
            Endpoint(
                .get,
                path,
                .open,
                Operation(
                    id: id,
                    tag: .system,
                    summary: "Tell how the server is",
                    answer: .ok("Every component works, if some with less than they should have"),
                    errors: [.serviceUnavailable: "A component is down; `details` tells of all"],
                    errorDetails: [.serviceUnavailable: HealthBody.self]
                ),
                handler: health.report
            )
        }
    }

    static func openAPI(
        _ handler: @escaping @Sendable (Call<NoQuery, NoBody>) -> Response
    ) -> [Endpoint] {
        [("\(Self.base)/openapi.json", "getOpenAPI"), ("/openapi.json", "getRootOpenAPI")].map { path, id in
            Endpoint(
                raw: .get,
                path,
                .open,
                Operation(
                    id: id,
                    tag: .system,
                    summary: "Get this document",
                    answer: Operation.Success(
                        status: .ok,
                        description: "OpenAPI 3.1, not in the envelope",
                        content: .bare(mediaType: "application/json", OpenAPIDocument.ownSchema),
                        headers: ["ETag": "Changes with the document."],
                        isConditional: true
                    )
                ),
                handler: handler
            )
        }
    }
}
