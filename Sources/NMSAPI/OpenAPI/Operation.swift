internal import HTTPTypes

/// What the document says of an endpoint beyond its method, path, role and types.
struct Operation: Sendable {
    /// Groups of the document.
    enum Tag: String, Sendable, CaseIterable {
        case auth = "Authentication"
        case credentials = "Credentials"
        case devices = "Devices"
        case discoveries = "Discoveries"
        case metrics = "Metrics"
        case audit = "Audit"
        case system = "System"

        var description: String {
            switch self {
            case .auth: "Logins and sessions."
            case .credentials: "How NMSlite signs in to Windows hosts. No answer ever holds a password."
            case .devices: "Windows machines and whether they are monitored."
            case .discoveries: "Searches of subnets for Windows machines."
            case .metrics: "What polls have measured."
            case .audit: "Who changed what and when."
            case .system: "The server itself."
            }
        }
    }

    /// What an endpoint answers when all goes well.
    struct Success: Sendable {
        enum Content: Sendable {
            /// The handler's value in the envelope.
            case enveloped
            /// Something else, of this media type.
            case bare(mediaType: String, JSONSchema)
        }

        let status: HTTPResponse.Status
        let description: String
        var content = Content.enveloped
        /// Headers beside those of every answer, with what they hold.
        var headers: [String: String] = [:]
        /// Whether a request whose `If-None-Match` fits is answered by 304.
        var isConditional = false

        static func ok(_ description: String) -> Success { Success(status: .ok, description: description) }
        static func created(_ description: String) -> Success { Success(status: .created, description: description) }
        static func accepted(_ description: String) -> Success { Success(status: .accepted, description: description) }
    }

    /// A name for clients' functions, unique.
    let id: String
    let tag: Tag
    /// A few words, without a full stop.
    let summary: String
    let description: String
    let answer: Success
    /// Errors of this operation alone, or better words for those that every operation has.
    let errors: [ServiceError.Code: String]
    /// What `details` holds where it is not the usual.
    let errorDetails: [ServiceError.Code: any ResponseBody.Type]
    /// Rules that answer 400 though the request fits its schema.
    let rules: [String]
    let links: [Link]

    init(
        id: String,
        tag: Tag,
        summary: String,
        description: String = "",
        answer: Success,
        errors: [ServiceError.Code: String] = [:],
        errorDetails: [ServiceError.Code: any ResponseBody.Type] = [:],
        rules: [String] = [],
        links: [Link] = []
    ) {
        self.id = id
        self.tag = tag
        self.summary = summary
        self.description = description
        self.answer = answer
        self.errors = errors
        self.errorDetails = errorDetails
        self.rules = rules
        self.links = links
    }
}

/// What can be called with what an answer holds (OpenAPI 3.1, "Link Object").
struct Link: Sendable {
    let operationID: String
    /// Runtime expressions, such as `$response.body#/data/id`, by the name of the parameter.
    let parameters: [String: String]
    let body: JSONValue?

    init(_ operationID: String, _ parameters: [String: String] = [:], body: JSONValue? = nil) {
        self.operationID = operationID
        self.parameters = parameters
        self.body = body
    }

    /// Operations on the thing whose id the answer holds.
    static func withID(_ operationIDs: String..., from pointer: String = "/data/id") -> [Link] {
        operationIDs.map { Link($0, ["id": "$response.body#\(pointer)"]) }
    }

    /// Operations on the thing that the request was about.
    static func withSameID(_ operationIDs: String...) -> [Link] {
        operationIDs.map { Link($0, ["id": "$request.path.id"]) }
    }
}
