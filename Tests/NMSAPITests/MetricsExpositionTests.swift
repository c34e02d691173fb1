import Foundation
import HTTPTypes
import HummingbirdTesting
import Logging
import NMSCore
import Prometheus
import Testing

@testable import NMSAPI

@Suite struct MetricsExpositionTests {
    private static let token = "0123456789abcdef0123456789ABCDEF-._~+/=="

    private static func registry() -> PrometheusRegistry {
        PrometheusRegistry(
            MetricsCatalogue.families,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
    }

    /// The API with a scrape token, and what it counts.
    private static func with(
        health: [HealthComponent] = [],
        _ body: @escaping @Sendable (Harness, API, PrometheusRegistry) async throws -> Void
    ) async throws {
        let registry = self.registry()
        try await Harness.with(
            health: health,
            configure: { $0.exposition = MetricsExposition(registry: registry, scrapeToken: Secret(self.token)) },
            { harness, api in try await body(harness, api, registry) }
        )
    }

    private static func scrape(_ api: API, _ authorization: String? = "Bearer \(Self.token)") async throws -> Reply {
        var api = api
        api.token = nil
        return try await api.call(.get, "//metrics", headers: authorization.map { ["authorization": $0] } ?? [:])
    }

    private static func lines(_ registry: PrometheusRegistry, _ prefix: String) async -> [String] {
        let text = String(decoding: await registry.render(.text), as: UTF8.self)
        return text.split(separator: "\n").map(String.init).filter { $0.hasPrefix(prefix) && !$0.hasSuffix(" 0") }
    }

    // MARK: - Who may

    @Test func theScrapeTokenOpensItAndNothingElse() async throws {
        try await Self.with { _, api, _ in
            let reply = try await Self.scrape(api)
            #expect(reply.status == 200)
            #expect(reply.header("content-type") == "text/plain; version=0.0.4; charset=utf-8")
            #expect(reply.header("x-request-id") != nil && reply.header("cache-control") == "no-store")
            #expect(reply.text.contains("# TYPE nmslite_http_requests_total counter"))
            // RFC 9110 §11.1: the scheme is compared without case.
            #expect(try await Self.scrape(api, "bearer \(Self.token)").status == 200)

            var scraper = api
            scraper.token = Self.token
            for path in ["/devices", "/credentials", "/audit"] {
                let refused = try await scraper.get(path)
                #expect(refused.status == 401 && refused.code == "UNAUTHORIZED")
            }
        }
    }

    @Test func everythingElseIsRefusedWithTheEnvelope() async throws {
        try await Self.with { _, api, _ in
            let admin = try await api.signedIn()
            let wrong = [
                nil, "", "Bearer", "Bearer ", Self.token, "Basic \(Self.token)", "Bearer \(Self.token)x",
                "Bearer \(Self.token.dropLast())", "Bearer \(Self.token.lowercased())", "Bearer x \(Self.token)",
                "Bearer \(Self.token) x", "Bearer \(admin.token ?? "")",
            ]
            for authorization in wrong {
                let reply = try await Self.scrape(api, authorization)
                #expect(reply.status == 401 && reply.code == "UNAUTHORIZED", "\(authorization ?? "none")")
                #expect(reply.header("www-authenticate")?.hasPrefix("Bearer") == true)
                #expect(reply.header("x-request-id") != nil)
                #expect(!reply.text.contains("nmslite_") && !reply.text.contains(Self.token))
            }
            let asQuery = try await api.call(.get, "//metrics?access_token=\(Self.token)")
            #expect(asQuery.status == 401)
        }
    }

    @Test func withoutATokenThereIsNone() async throws {
        let registry = Self.registry()
        try await Harness.with(configure: { $0.exposition = MetricsExposition(registry: registry) }) { _, api in
            for path in ["//metrics", "/metrics"] {
                let reply = try await api.signedIn().call(.get, path)
                #expect(reply.status == 404 && reply.code == "NOT_FOUND")
            }
        }
    }

    @Test func onlyReadingIsPossible() async throws {
        try await Self.with { _, api, _ in
            for method in [HTTPRequest.Method.post, .put, .patch, .delete, .options] {
                let reply = try await api.call(method, "//metrics")
                #expect(reply.status == 405 && reply.code == "METHOD_NOT_ALLOWED", "\(method)")
                #expect(reply.header("allow") == "GET, HEAD")
            }
            let head = try await api.call(.head, "//metrics", headers: ["authorization": "Bearer \(Self.token)"])
            #expect(head.status == 200 && head.text.isEmpty)
        }
    }

    @Test func openMetricsIsForThoseWhoPreferIt() async throws {
        try await Self.with { _, api, _ in
            let accept = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5"
            let reply = try await api.call(
                .get,
                "//metrics",
                headers: ["authorization": "Bearer \(Self.token)", "accept": accept]
            )
            #expect(reply.header("content-type") == "application/openmetrics-text; version=1.0.0; charset=utf-8")
            #expect(reply.text.hasSuffix("# EOF\n"))
        }
    }

    // MARK: - What is counted

    @Test func requestsAreCountedByTheirEndpoint() async throws {
        try await Self.with { _, api, registry in
            let admin = try await api.signedIn()
            let id = try await admin.makeDevice()
            for _ in 0..<3 { #expect(try await admin.get("/devices/\(id)").status == 200) }
            #expect(try await admin.call(.head, "/devices/\(id)").status == 200)
            #expect(try await admin.get("/devices/4711").status == 404)
            #expect(try await admin.get("/devices/x").status == 400)
            #expect(try await api.get("/devices/\(id)").status == 401)
            // What clients make up makes no series.
            for path in ["//secret-path", "/devices/\(id)/secret-path", "//", "//metrics/secret-path"] {
                #expect(try await admin.get(path).status == 404)
            }
            #expect(try await admin.call(.init("BREW")!, "//secret-path").status == 404)
            #expect(try await admin.call(.patch, "/devices/\(id)", "{}").status == 405)

            func requests(_ method: String, _ route: String, _ status: String) async -> [String] {
                let labels = "{method=\"\(method)\",route=\"\(route)\",status=\"\(status)\"}"
                return await Self.lines(registry, "nmslite_http_requests_total\(labels)")
            }
            let device = "/api/v1/devices/{id}"
            #expect(await requests("GET", device, "2xx").first?.hasSuffix(" 4") == true)
            #expect(await requests("GET", device, "4xx").first?.hasSuffix(" 3") == true)
            #expect(await requests("POST", "/api/v1/devices", "2xx").first?.hasSuffix(" 1") == true)
            #expect(await requests("GET", "unmatched", "4xx").first?.hasSuffix(" 4") == true)
            #expect(await requests("other", "unmatched", "4xx").first?.hasSuffix(" 1") == true)
            let duration = "nmslite_http_request_duration_seconds_count{method=\"GET\",route=\"\(device)\"} 7"
            #expect(await Self.lines(registry, "nmslite_http_request_duration_seconds_count").contains(duration))
            #expect(await Self.lines(registry, "nmslite_http_requests_in_flight").isEmpty)
            #expect(!String(decoding: await registry.render(.text), as: UTF8.self).contains("secret-path"))
        }
    }

    @Test func signInsAndRefreshesAreCounted() async throws {
        try await Self.with { _, api, registry in
            let login = try await api.post(
                "/auth/login",
                #"{"username":"viewer","password":"\#(Harness.adminPassword)"}"#
            )
            let refresh = try login.data["refresh_token"].text
            for name in ["viewer", "nobody"] {
                _ = try await api.post("/auth/login", #"{"username":"\#(name)","password":"wrong"}"#)
            }
            for _ in 0..<2 { _ = try await api.post("/auth/refresh", #"{"refresh_token":"\#(refresh)"}"#) }
            _ = try await api.post("/auth/refresh", #"{"refresh_token":"nonsense"}"#)
            for _ in 0..<20 {
                _ = try await api.post("/auth/login", #"{"username":"operator","password":"wrong"}"#)
            }
            let logins = await Self.lines(registry, "nmslite_sign_ins_total")
            #expect(logins.contains("nmslite_sign_ins_total{result=\"success\"} 1"))
            let failures = logins.first { $0.contains("failure") }.flatMap { Int($0.split(separator: " ")[1]) } ?? 0
            let throttled = logins.first { $0.contains("throttled") }.flatMap { Int($0.split(separator: " ")[1]) } ?? 0
            #expect(failures + throttled == 22 && failures > 2 && throttled > 0)
            let refreshes = await Self.lines(registry, "nmslite_token_refreshes_total")
            #expect(
                refreshes == [
                    "nmslite_token_refreshes_total{result=\"failure\"} 1",
                    "nmslite_token_refreshes_total{result=\"reused\"} 1",
                    "nmslite_token_refreshes_total{result=\"success\"} 1",
                ]
            )
        }
    }

    @Test func cachesAndDevicesAreRead() async throws {
        try await Self.with { _, api, registry in
            let admin = try await api.signedIn()
            let id = try await admin.makeDevice()
            for _ in 0..<4 { _ = try await admin.get("/devices/\(id)") }
            #expect(await Self.lines(registry, "nmslite_devices{status=\"discovered\"}").first?.hasSuffix(" 1") == true)
            let hits = await Self.lines(registry, "nmslite_cache_hits_total{cache=\"api_devices\"}")
            #expect(hits.first?.hasSuffix(" 3") == true, "\(hits)")
            #expect(!(await Self.lines(registry, "nmslite_cache_hits_total{cache=\"api_sessions\"}")).isEmpty)
            #expect(await Self.lines(registry, "metrics_sampler_failures_total").isEmpty)
        }
    }

    // MARK: - The log

    @Test func routineQuestionsThatWentWellAreNotInTheWay() async throws {
        try await Self.with { (harness: Harness, api: API, _) async throws -> Void in
            for path in ["//health", "/health"] { #expect(try await api.get(path).status == 200) }
            #expect(try await Self.scrape(api).status == 200)
            #expect(try await Self.scrape(api, nil).status == 401)
            #expect(try await api.get("/devices").status == 401)
            let lines = harness.log.all.filter { $0.contains(" request ") }
            func levels(_ path: String) -> [String] {
                lines.filter { $0.contains("path=\(path) ") }.compactMap {
                    $0.split(separator: " ").first.map(String.init)
                }
            }
            #expect(levels("/health") == ["debug"] && levels("/api/v1/health") == ["debug"])
            #expect(levels("/metrics") == ["debug", "info"])
            #expect(levels("/api/v1/devices") == ["info"])
            #expect(lines.allSatisfy { $0.contains("request_id=") && !$0.contains(Self.token) })
        }
    }

    /// Services know nothing of requests, and yet their lines say which one they are about.
    @Test func everyLineOnBehalfOfARequestCarriesItsID() async throws {
        let seen = LogRecorder()
        let component = HealthComponent("listener") {
            seen.add(RequestLogContext.metadataProvider.get()["request_id"].map { "\($0)" } ?? "none")
            return ComponentHealth(.up)
        }
        try await Self.with(health: [component]) { (_, api: API, _) async throws -> Void in
            #expect(try await api.call(.get, "//health", headers: ["x-request-id": "abc-1"]).status == 200)
        }
        #expect(seen.all == ["abc-1"])
        #expect(RequestLogContext.metadataProvider.get().isEmpty)
    }

    // MARK: - The listener

    @Test func theListenerAnswersMetricsAndNothingElse() async throws {
        let listener = try buildMetricsListener(
            registry: Self.registry(),
            host: "127.0.0.1",
            port: 0,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        try await listener.test(.live) { client in
            func call(_ method: HTTPRequest.Method, _ path: String) async throws -> Reply {
                Reply(try await client.executeRequest(uri: path, method: method, headers: [:], body: nil))
            }
            let reply = try await call(.get, "/metrics")
            #expect(reply.status == 200 && reply.text.contains("# TYPE nmslite_polls_total counter"))
            #expect(reply.header("x-request-id") != nil)
            for path in ["/", "/health", "/api/v1/health", "/api/v1/devices", "/metrics/x"] {
                let other = try await call(.get, path)
                #expect(other.status == 404 && other.code == "NOT_FOUND", "\(path)")
            }
            let post = try await call(.post, "/metrics")
            #expect(post.status == 405 && post.header("allow") == "GET, HEAD")
            #expect(try await call(.head, "/metrics").status == 200)
        }
    }

    // MARK: - The document

    /// A series that the document does not explain, or that is no more, is a broken promise.
    @Test func theDocumentTellsOfEverySeriesAndOfNoOther() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "docs/observability.md"), encoding: .utf8)
        let rows = text.matches(of: /(?m)^\| `([a-z_]+)` \| ([a-z]+) \| ([^|]*) \|/)
        let documented = rows.map { "\($0.output.1) \($0.output.2) \($0.output.3)" }
        let declared = Self.registry().declared.map { family in
            let kind =
                switch family.kind {
                case .counter: "counter"
                case .gauge: "gauge"
                case .histogram: "histogram"
                }
            return "\(family.name) \(kind) \(family.labels.map { "`\($0)`" }.joined(separator: ", "))"
        }
        #expect(Set(documented) == Set(declared.map { $0.hasSuffix(" ") ? $0 + "—" : $0 }))
        #expect(documented.count == declared.count)
    }
}
