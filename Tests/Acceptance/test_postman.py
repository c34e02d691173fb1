"""The Postman collection, run in order by its own scripts, and against the served OpenAPI document."""

import http.server
import json
import re
import subprocess
import sys
import threading

import jsonschema_rs
import pytest

import postman_runner
from processes import ADMIN_PASSWORD, HOST_PASSWORD, ROOT

COLLECTION = ROOT / "api" / "postman" / "nmslite.postman_collection.json"
ENVIRONMENT = ROOT / "api" / "postman" / "nmslite.postman_environment.json"
METRICS_TOKEN = "Scr4pe-acceptance-mB3x-and-long-enough"
#: Prometheus' own format and token, and no part of the described API.
UNDESCRIBED = [("GET", "/metrics")]


@pytest.fixture(scope="module")
def collection():
    return json.loads(COLLECTION.read_text())


def environment(**changes):
    return {**postman_runner.environment_of(ENVIRONMENT), **changes}


def start_server(start, folder):
    token = folder / "scrape-token"
    token.write_text(METRICS_TOKEN)
    return start.server("--targets.allow", "127.0.0.0/8", "--metrics.scrape_token_file", token)


def run(collection, server, fleet):
    values = environment(
        baseUrl=server.url,
        password=ADMIN_PASSWORD,
        deviceAddress=fleet.address(0),
        windowsPassword=HOST_PASSWORD,
        metricsToken=METRICS_TOKEN,
    )
    runner = postman_runner.Runner(collection, values, server.certificate)
    return runner, runner.run()


def test_the_collection_runs_green_in_order(start, folder, collection):
    fleet = start.winsim(1)
    server = start_server(start, folder)
    runner, results = run(collection, server, fleet)
    assert not [failure for result in results for failure in result.failures]
    ran = {result.name for result in results}
    assert ran == {item.name for item in runner.items}
    # A request may be asked again until it is done; the last time it must have been judged by its status.
    judged = {result.name for result in results if any(name.startswith("answers ") for name, _ in result.tests)}
    assert judged == ran
    # Nothing is left but what was there before: no device, no credential, no token.
    api = server.api()
    assert api.call("GET", "/devices")["total"] == 0
    assert api.call("GET", "/credentials")["total"] == 0
    assert not set(runner.collection) & {"accessToken", "refreshToken", "deviceId", "credentialId"}
    # And so it can be run again.
    again = run(collection, server, fleet)[1]
    assert not [failure for result in again for failure in result.failures]


# The collection against the document.


def document(server):
    return server.api().session.get(f"{server.url}/openapi.json", timeout=30).json()


def operations(document):
    """{(method, path): operation}, with paths as the server sees them."""
    found = {}
    for path, entry in document["paths"].items():
        servers = entry.get("servers") or document["servers"]
        prefix = servers[0]["url"].rstrip("/")
        for method, operation in entry.items():
            # HEAD is GET without its body.
            if method in ("get", "put", "post", "delete", "patch", "options"):
                found[method.upper(), prefix + path] = operation
    return found


def template(request):
    """A request's path with `{}` for what a variable fills in."""
    return "/" + "/".join("{}" if part.startswith((":", "{{")) else part for part in request["url"]["path"])


def test_every_operation_is_in_the_collection_once_and_every_example_is_true(start, folder, collection):
    described = document(start_server(start, folder))
    known = {(m, re.sub(r"\{[^}]*\}", "{}", path)): operation for (m, path), operation in operations(described).items()}
    requests = [((item.request["method"], template(item.request)), item) for item in postman_runner.items(collection)]
    used = [operation for operation, _ in requests]
    assert sorted(used) == sorted([*known, *UNDESCRIBED])
    for operation, item in requests:
        assert item.request["description"], item.name
        assert any("pm.test(" in script for script in list(item.scripts("test"))[1:]), f"{item.name} has no test"
        assert any(example["code"] < 400 for example in item.examples), f"{item.name} has no example"
        for example in item.examples if operation not in UNDESCRIBED else []:
            check_example(described, known[operation], item.name, example)


def check_example(described, operation, name, example):
    where = f"{name}, example {example['name']}"
    answer = operation["responses"].get(str(example["code"]))
    assert answer, f"{where}: {example['code']} is not documented"
    if "$ref" in answer:
        answer = described["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
    media = {h["key"]: h["value"] for h in example["header"]}["Content-Type"].split(";")[0]
    assert media in answer["content"], f"{where}: {media}"
    schema = answer["content"][media].get("schema")
    if media == "application/json" and schema:
        validator = jsonschema_rs.Draft202012Validator({**schema, "components": described["components"]})
        body = json.loads(example["body"])
        errors = [f"{list(error.instance_path)}: {error.message}" for error in validator.iter_errors(body)]
        assert not errors, f"{where}: {errors}"


# The runner itself: what is wrong must be red.


class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"success": True, "data": {"count": 2, "names": ["a", "b"]}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Request-ID", "one")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def stub():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def one_request(script, name="one", **request):
    return {
        "info": {"name": "self-test"},
        "item": [
            {
                "name": name,
                "event": [{"listen": "test", "script": {"exec": script.split("\n")}}],
                "request": {
                    "method": "GET",
                    "url": {"raw": "{{baseUrl}}/x", "host": ["{{baseUrl}}"], "path": ["x"]},
                    **request,
                },
            }
        ],
    }


def failures(stub, script):
    results = postman_runner.Runner(one_request(script), {"baseUrl": stub}).run()
    assert len(results) == 1
    return results[0].failures


GOOD = [
    "pm.test('t', () => pm.response.to.have.status(200))",
    "pm.test('t', () => pm.response.to.be.ok)",
    "pm.test('t', () => pm.response.to.not.be.error)",
    "pm.test('t', () => pm.response.to.have.header('x-request-id', 'one'))",
    "pm.test('t', () => pm.expect(pm.response.json().data.count).to.equal(2))",
    "pm.test('t', () => pm.expect(pm.response.json().data).to.eql({ count: 2, names: ['a', 'b'] }))",
    "pm.test('t', () => pm.expect([{ a: 1 }]).to.deep.include({ a: 1 }))",
    "pm.test('t', () => pm.expect('abc').to.match(/b/).and.to.include('c'))",
    "pm.test('t', () => pm.expect({ a: { b: 1 } }).to.have.property('a').that.has.property('b', 1))",
    "pm.test('t', () => pm.expect([1, 2]).to.have.lengthOf(2))",
    "pm.test('t', () => pm.expect(3).to.be.above(2).and.to.be.below(4))",
    "pm.test('t', () => pm.expect(null).to.be.null)",
    "pm.test('t', () => pm.expect([]).to.be.an('array').that.is.empty)",
    "pm.test('t', () => pm.expect(1).to.not.equal('1'))",
]
BAD = [
    "pm.test('t', () => pm.response.to.have.status(201))",
    "pm.test('t', () => pm.response.to.be.error)",
    "pm.test('t', () => pm.response.to.not.be.ok)",
    "pm.test('t', () => pm.response.to.have.header('x-other'))",
    "pm.test('t', () => pm.response.to.have.header('x-request-id', 'two'))",
    "pm.test('t', () => pm.expect(pm.response.json().data.count).to.equal('2'))",
    "pm.test('t', () => pm.expect(pm.response.json().data).to.eql({ count: 2, names: ['b', 'a'] }))",
    "pm.test('t', () => pm.expect([{ a: 1 }]).to.include({ a: 1 }))",
    "pm.test('t', () => pm.expect('abc').to.not.include('c'))",
    "pm.test('t', () => pm.expect({ a: 1 }).to.have.property('b'))",
    "pm.test('t', () => pm.expect({ a: 1 }).to.not.have.property('a'))",
    "pm.test('t', () => pm.expect(2).to.be.above(2))",
    "pm.test('t', () => pm.expect(2).to.be.above('1'))",
    "pm.test('t', () => pm.expect([]).to.be.an('object'))",
    "pm.test('t', () => pm.expect(undefined).to.exist)",
    "pm.test('t', () => pm.expect([1]).to.be.empty)",
    "pm.test('t', () => pm.expect(1).to.be.true)",
    # What the runner does not know must not pass silently, nor what throws beside a test.
    "pm.test('t', () => pm.expect(1).to.be.tru)",
    "pm.test('t', () => pm.response.to.be.lovely)",
    "pm.test('t', () => pm.cookies.get('a'))",
    "pm.sendRequest('http://127.0.0.1:1')",
    "undeclared = 1",
    "throw new Error('no')",
    "setTimeout(() => { throw new Error('late') }, 1)",
    "this is no JavaScript",
]


@pytest.mark.parametrize("script", GOOD)
def test_true_expectations_are_green(stub, script):
    assert failures(stub, script) == []


@pytest.mark.parametrize("script", BAD)
def test_false_expectations_are_red(stub, script):
    assert len(failures(stub, script)) == 1


def test_a_broken_expectation_fails_the_run(stub, collection, folder):
    """The runner's command, with a script of the collection itself turned around."""
    health = next(item for item in postman_runner.items(collection) if item.name == "Health")
    script = list(health.scripts("test"))[-1]
    file = folder / "collection.json"
    outcomes = []
    for text in (script.splitlines()[0], script.splitlines()[0].replace("200", "503")):
        file.write_text(json.dumps(one_request(text)))
        finished = subprocess.run(
            [sys.executable, postman_runner.__file__, file, "--set", f"baseUrl={stub}"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        outcomes.append(finished.returncode)
        assert "1 requests, 1 tests" in finished.stdout
    assert outcomes == [0, 1]


def test_variables_timers_and_the_next_request(stub):
    script = """
const tries = Number(pm.collectionVariables.get("tries") || 0);
pm.collectionVariables.set("tries", tries + 1);
if (tries < 2) {
    setTimeout(() => pm.execution.setNextRequest("again"), 5);
} else {
    pm.environment.unset("gone");
    pm.test("seen", () => pm.expect(pm.variables.get("tries")).to.equal(3));
}"""
    runner = postman_runner.Runner(one_request(script, "again"), {"baseUrl": stub, "gone": "1"})
    results = runner.run()
    assert [result.failures for result in results] == [[], [], []]
    assert runner.environment == {"baseUrl": stub} and runner.collection == {"tries": 3}


@pytest.mark.parametrize(
    "request_",
    [
        {"auth": {"type": "basic"}},
        {"body": {"mode": "formdata", "formdata": []}},
        {"header": [{"key": "X", "value": "{{unknown}}"}]},
    ],
)
def test_what_the_runner_does_not_do_is_an_error(stub, request_):
    with pytest.raises(postman_runner.Unsupported):
        postman_runner.Runner(one_request("", **request_), {"baseUrl": stub}).run()


def test_the_environment_holds_no_secret():
    for value in json.loads(ENVIRONMENT.read_text())["values"]:
        assert (value["type"] == "secret") == (value["key"] in ("password", "windowsPassword", "metricsToken"))
        assert value["type"] != "secret" or value["value"] == ""
