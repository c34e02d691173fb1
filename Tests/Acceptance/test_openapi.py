"""The API against its own description, by a tool that no one here wrote: schemathesis."""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import types

import jsonschema_rs
import pytest
import requests

import schemathesis_hooks

#: How many times as many examples: 10 for a long run by hand.
FACTOR = int(os.environ.get("NMSLITE_SCHEMATHESIS_FACTOR", "1"))
#: Examples of one operation in one phase.
EXAMPLES = 12 * FACTOR
#: Without one every run is the same; with one (or "random") it is another.
SEED = os.environ.get("NMSLITE_SCHEMATHESIS_SEED")
ROLES = ("admin", "operator", "viewer")
#: Every logout that is tried out takes another login.
CHEAP_LOGINS = ("--auth.bcrypt_cost", "4")
#: Devices, credentials and discoveries that are there when it begins.
SEEDS = 4
PASSWORD = "Sch3ma-acceptance-Lr5v"
#: Another version of the document, for developing it.
DOCUMENT = os.environ.get("NMSLITE_OPENAPI")


def configuration(fleet, role, refresh_tokens):
    """schemathesis.toml: who calls, and values that exist. It switches nothing off."""
    return f"""
[auth.dynamic.openapi.bearerAuth]
path = "/api/v1/auth/login"
payload = {{ username = "schema-{role}", password = "{PASSWORD}" }}
extract_selector = "/data/access_token"

[cache]
enabled = false

[dictionaries]
ids = {{ values = {json.dumps(list(range(1, 2 * SEEDS + 1)))} }}
targets = {{ values = {json.dumps([*fleet.addresses, "127.0.0.1", "127.255.255.254"])} }}
subnets = {{ values = {json.dumps([f"{address}/32" for address in fleet.addresses])} }}
networks = {{ values = ["::ffff:10.0.0.0/90", "::ffff:10.0.0.0/104", "127.0.0.0/8"] }}
users = {{ values = ["schema-guest"] }}
refresh_tokens = {{ values = {json.dumps(refresh_tokens)} }}
passwords = {{ values = {json.dumps([PASSWORD, "é" * 37])} }}

# Random values alone would name nothing that exists, lie outside of targets.allow and meet no edge of the rules.
[parameters]
"path.id" = {{ dictionary = "ids", probability = 0.6 }}
"body.credential_id" = {{ dictionary = "ids", probability = 0.6 }}
"body.ip" = {{ dictionary = "targets", probability = 0.7 }}
"body.subnet" = {{ dictionary = "subnets", probability = 0.5 }}
"body.allowed_targets[*]" = {{ dictionary = "networks", probability = 0.3 }}
"body.username" = {{ dictionary = "users", probability = 0.4 }}
"body.refresh_token" = {{ dictionary = "refresh_tokens", probability = 0.7 }}
"body.password" = {{ dictionary = "passwords", probability = 0.4 }}
"""


def seed(server, fleet):
    """Things to read, change and delete: their ids are among those that schemathesis tries."""
    api = server.api()
    credentials = [api.credential(name=f"seed {number}") for number in range(SEEDS)]
    devices = [api.add(fleet.address(number), credentials[0], interval=60) for number in range(SEEDS)]
    for number in range(SEEDS):
        body = {"subnet": f"{fleet.address(number)}/32"}
        api.call("POST", "/devices/discover", body, status=202)
    for device in devices:
        api.metrics(device)


def requests_of(server):
    """{operation: {status: how many}} by the server's own log; what undescribed methods got is left out."""
    seen = collections.defaultdict(collections.Counter)
    for line in server.log_lines():
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("msg") != "request" or entry.get("user") == "admin":
            continue
        path = entry["path"].removeprefix(schemathesis_hooks.BASE).rstrip("/")
        path = re.sub(r"^/(devices|credentials|discoveries)/(?!discover$)[^/]+", r"/\1/{id}", path)
        seen[f"{entry['method']} {path}"][int(entry["status"])] += 1
    return seen


def run_schemathesis(server, folder, fleet, role, document=None):
    """Returns the finished process."""
    config = folder / f"schemathesis-{role}.toml"
    # Good for one use each, and the second one ends the session.
    refresh_tokens = [server.api("schema-guest", PASSWORD).tokens["refresh_token"] for _ in range(SEEDS)]
    config.write_text(configuration(fleet, role, refresh_tokens))
    # "random" leaves the choice to schemathesis, which prints it.
    seed = ["--generation-deterministic"] if SEED is None else [] if SEED == "random" else ["--seed", SEED]
    return subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run",
            document or f"{server.url}/openapi.json", "--url", server.url,
            "--tls-verify", server.certificate,
            "--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--mode", "all",
            "--max-examples", str(EXAMPLES), *seed,
            "--request-timeout", "30", "--continue-on-failure",
            "--report", "json", "--report-json-path", folder / f"report-{role}.json", "--no-color",
        ],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
            "PYTHONPATH": str(pathlib.Path(__file__).parent),
        },
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=900 * FACTOR,
    )  # fmt: skip


def add_user(server, name, role):
    added = subprocess.run(
        server.command("user", "add", f"schema-{name}", "--role", role, *CHEAP_LOGINS), input=f"{PASSWORD}\n",
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert added.returncode == 0, added.stdout + added.stderr


def document_of(server):
    return requests.get(f"{server.url}/openapi.json", verify=server.certificate, timeout=30).json()


def operations(document):
    """{"GET /devices": operation}, as schemathesis_hooks names them."""
    return {
        f"{method.upper()} {path.removeprefix(schemathesis_hooks.BASE)}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "put", "post", "delete")
    }


@pytest.mark.parametrize("role", ROLES)
def test_the_api_is_what_its_document_says(start, folder, role):
    fleet = start.winsim(2 * SEEDS)
    server = start.server("--targets.allow", "127.0.0.0/8", *CHEAP_LOGINS)
    add_user(server, role, role)
    # Logins of a guest may be throttled; those of the run itself may not.
    add_user(server, "guest", "viewer")
    seed(server, fleet)
    finished = run_schemathesis(server, folder, fleet, role, DOCUMENT)
    print(finished.stdout)
    assert finished.returncode == 0, finished.stdout[-20000:]
    assert server.child.process.poll() is None
    assert PASSWORD not in server.log.read_text(errors="replace")
    assert_reached(operations(document_of(server)), requests_of(server), role)


def assert_reached(operations, seen, role):
    """A run that only meets refusals shows nothing: each operation must have succeeded, or been refused to the role."""
    for label, operation in operations.items():
        statuses = seen[label]
        good = sum(count for status, count in statuses.items() if status < 300)
        if ROLES.index(role) <= ROLES.index(operation.get("x-required-role", ROLES[-1])):
            # A discovery is over before anyone can cancel it.
            over = label == "DELETE /discoveries/{id}" and statuses[409]
            assert good or over, f"{label} never succeeded for {role}: {dict(statuses)}"
        else:
            assert good == 0 and statuses[403] > 0, f"{label} is not for {role}: {dict(statuses)}"


def test_every_rule_is_needed_and_documented(start):
    """Its example fits the schema, and is refused in the table's words."""
    server = start.server("--targets.allow", "127.0.0.0/8")
    api = server.api()
    assert api.credential() == 1 and api.device("127.0.0.1") == 1
    document = document_of(server)
    known = operations(document)
    for rule in schemathesis_hooks.RULES:
        method, _, path = rule.operation.partition(" ")
        operation = known[rule.operation]
        if rule.body is not None:
            validate(document, operation["requestBody"]["content"]["application/json"]["schema"], rule.body)
        parameters = {parameter["name"]: parameter["schema"] for parameter in parameters_of(document, operation)}
        for name, value in (rule.query or {}).items():
            validate(document, parameters[name], value)
        assert rule.breaks(types.SimpleNamespace(query=rule.query, body=rule.body)), rule.name
        error = api.call(method, path.replace("{id}", "1"), rule.body, rule.query, status=rule.status)
        assert error["code"] == rule.code, rule.name
        assert re.fullmatch(rule.field, (error.get("details") or {}).get("field") or ""), f"{rule.name}: {error}"
    told = {label for label, operation in known.items() if operation.get("x-unexpressed-rules")}
    assert told == {rule.operation for rule in schemathesis_hooks.RULES if rule.status == 400}


def parameters_of(document, operation):
    for parameter in operation.get("parameters", []):
        name = parameter.get("$ref", "").rpartition("/")[2]
        yield document["components"]["parameters"][name] if name else parameter


def validate(document, schema, value):
    validator = jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})
    assert validator.is_valid(value), f"the schema does not allow {value!r}: no rule is needed"
