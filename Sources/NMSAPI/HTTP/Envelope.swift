internal import HTTPTypes
internal import Hummingbird
internal import HummingbirdCore
internal import NMSCore

/// The framework's, whose name our declarations have as well.
typealias HTTPResponseBody = HummingbirdCore.ResponseBody

/// `{"success":true,"data":…}`.
private struct SuccessEnvelope: Encodable {
    let data: any Encodable

    enum CodingKeys: String, CodingKey { case success, data }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(true, forKey: .success)
        try self.data.encode(to: container.superEncoder(forKey: .data))
    }
}

/// `{"success":false,"error":{"code","message","details"}}`.
private struct ErrorEnvelope: Encodable {
    struct Body: Encodable {
        let code: ServiceError.Code
        let message: String
        let details: (any Encodable)?

        enum CodingKeys: String, CodingKey { case code, message, details }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(self.code, forKey: .code)
            try container.encode(self.message, forKey: .message)
            guard let details = self.details else { return }
            try details.encode(to: container.superEncoder(forKey: .details))
        }
    }

    let success = false
    let error: Body

    enum CodingKeys: String, CodingKey { case success, error }
}

/// Turns answers and errors into responses.
enum Envelope {
    static let contentType = "application/json; charset=utf-8"

    static func response(status: HTTPResponse.Status, data: any ResponseBody) throws -> Response {
        try self.response(status: status, body: SuccessEnvelope(data: data))
    }

    static func response(_ error: ServiceError, headers: HTTPFields = [:]) -> Response {
        var headers = headers
        if let retryAfter = error.retryAfter { headers[.retryAfter] = String(retryAfter) }
        // RFC 9110 §15.5.2 demands it.
        if error.code == .unauthorized { headers[.wwwAuthenticate] = "Bearer realm=\"nmslite\"" }
        return self.response(
            code: error.code,
            message: error.message,
            details: error.details,
            headers: headers
        )
    }

    static func response(
        code: ServiceError.Code,
        message: String,
        details: (any Encodable)? = nil,
        headers: HTTPFields = [:]
    ) -> Response {
        let envelope = ErrorEnvelope(error: .init(code: code, message: message, details: details))
        let response = try? self.response(status: code.status, headers: headers, body: envelope)
        // Strings always encode; a plain status is what is left if they should not.
        return response ?? Response(status: code.status, headers: headers)
    }

    /// The bare body of an error, for where there is no request to answer.
    static func body(_ error: ServiceError) -> ByteBuffer {
        let body = ErrorEnvelope(error: .init(code: error.code, message: error.message, details: error.details))
        return (try? NMSJSON.encode(body)).map { ByteBuffer(bytes: $0) } ?? ByteBuffer()
    }

    private static func response(
        status: HTTPResponse.Status,
        headers: HTTPFields = [:],
        body: some Encodable
    ) throws -> Response {
        var headers = headers
        headers[.contentType] = self.contentType
        let text = try NMSJSON.encode(body)
        return Response(status: status, headers: headers, body: HTTPResponseBody(byteBuffer: ByteBuffer(bytes: text)))
    }
}

extension ServiceError.Code {
    /// The status of each code: the contract's table, in one place.
    var status: HTTPResponse.Status {
        switch self {
        case .validationError: .badRequest
        case .unauthorized: .unauthorized
        case .forbidden, .targetNotAllowed: .forbidden
        case .notFound: .notFound
        case .methodNotAllowed: .methodNotAllowed
        case .conflict: .conflict
        case .payloadTooLarge: .contentTooLarge
        case .unsupportedMediaType: .unsupportedMediaType
        case .rateLimited: .tooManyRequests
        case .internalError: .internalServerError
        case .serviceUnavailable: .serviceUnavailable
        }
    }
}

/// Encodes nil as `null`: fields are never left out.
@propertyWrapper
struct OrNull<Value: Encodable & Sendable>: Encodable, Sendable {
    var wrappedValue: Value?

    init(wrappedValue: Value?) { self.wrappedValue = wrappedValue }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        if let value = self.wrappedValue { try container.encode(value) } else { try container.encodeNil() }
    }
}

/// A field that an answer has only when it was asked for: outer nil leaves it out, inner nil is `null`.
@propertyWrapper
struct WhenAsked<Value: Encodable & Sendable>: Encodable, Sendable {
    var wrappedValue: Value??

    init(wrappedValue: Value??) { self.wrappedValue = wrappedValue }
}

extension KeyedEncodingContainer {
    /// Synthesised encoders call this one for such fields.
    mutating func encode<Value>(_ field: WhenAsked<Value>, forKey key: Key) throws {
        guard let value = field.wrappedValue else { return }
        if let value { try self.encode(value, forKey: key) } else { try self.encodeNil(forKey: key) }
    }
}
