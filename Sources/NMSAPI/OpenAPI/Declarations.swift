// What the types of an endpoint declare: decoders and document are made from the same.

/// A JSON object that a request carries.
protocol RequestBody: Sendable {
    /// Reads every field, wrong ones included, without a branch around a read: a recording reader must be asked for all of
    /// them. Call `finish()` before unwrapping what was required.
    init(_ fields: inout FieldReader) throws(ServiceError)

    static var schemaName: String { get }
    /// A body that is accepted.
    static var example: JSONValue { get }
    static var presence: BodyPresence { get }
}

enum BodyPresence: Sendable {
    case required
    /// None at all counts as `{}`.
    case optional
    /// Nothing, or an empty object.
    case none
}

extension RequestBody {
    static var schemaName: String { "\(Self.self)" }
    static var presence: BodyPresence { .required }

    init(_ body: JSONValue) throws(ServiceError) {
        var fields = try FieldReader(body)
        self = try Self(&fields)
        try fields.finish()
    }

    /// What the initialiser asks its reader for.
    static var schema: JSONSchema {
        var fields = FieldReader.recording()
        _ = try? Self(&fields)
        return fields.schema ?? .any
    }
}

/// The query of a request.
protocol RequestQuery: Sendable {
    /// Reads every parameter, without a branch around a read.
    init(_ query: inout QueryReader) throws(ServiceError)
}

extension RequestQuery {
    init(_ text: String?) throws(ServiceError) {
        var query = try QueryReader(text)
        self = try Self(&query)
        try query.finish()
    }

    static var parameters: [QueryParameter] {
        var query = QueryReader.recording()
        _ = try? Self(&query)
        return query.parameters
    }
}

/// What is in the envelope's `data`.
protocol ResponseBody: Encodable, Sendable {
    static var schemaName: String { get }
    static var schema: JSONSchema { get }
    static var example: JSONValue { get }
}

extension ResponseBody {
    /// The type's name without `Body`.
    static var schemaName: String {
        let name = "\(Self.self)"
        return name.hasSuffix("Body") ? String(name.dropLast("Body".count)) : name
    }
}

/// No body.
struct NoBody: RequestBody {
    static let example: JSONValue = [:]
    static let presence = BodyPresence.none

    init(_: inout FieldReader) throws(ServiceError) {}
}

/// No parameters.
struct NoQuery: RequestQuery {
    init(_: inout QueryReader) throws(ServiceError) {}
}
