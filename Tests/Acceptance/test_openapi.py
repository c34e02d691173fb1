"""The API against its own description, by a tool that no one here wrote: schemathesis."""

import json
import os
import pathlib
import subprocess
import sys

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
PASSWORD = "Sch3ma-acceptance-Lr5v"
#: Another version of the document, for developing it.
DOCUMENT = os.environ.get("NMSLITE_OPENAPI")

used_rules = {}
documents = []


def configuration(fleet, role):
    """schemathesis.toml: who calls, and which addresses exist. It switches nothing off."""
    targets = [*fleet.addresses, "127.0.0.1", "127.255.255.254"]
    return f"""
[auth.dynamic.openapi.bearerAuth]
path = "/api/v1/auth/login"
payload = {{ username = "schema-{role}", password = "{PASSWORD}" }}
extract_selector = "/data/access_token"

[cache]
enabled = false

[dictionaries.targets]
values = {json.dumps(targets)}

[dictionaries.subnets]
values = {json.dumps([f"{fleet.base.rsplit('.', 1)[0]}.0/30", f"{fleet.base}/32"])}

# Random addresses alone would all be outside of targets.allow.
[parameters]
"body.ip" = {{ dictionary = "targets", probability = 0.7 }}
"body.subnet" = {{ dictionary = "subnets", probability = 0.5 }}
"""


def run_schemathesis(server, folder, fleet, role, document=None):
    """Returns the finished process and the names of the rules that it ran into."""
    config = folder / f"schemathesis-{role}.toml"
    config.write_text(configuration(fleet, role))
    used = folder / f"rules-{role}.txt"
    used.touch()
    # "random" leaves the choice to schemathesis, which prints it.
    seed = ["--generation-deterministic"] if SEED is None else [] if SEED == "random" else ["--seed", SEED]
    finished = subprocess.run(
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
            "NMSLITE_RULES_USED": str(used),
        },
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=900 * FACTOR,
    )  # fmt: skip
    return finished, set(used.read_text().split("\n")) - {""}


def add_user(server, role):
    added = subprocess.run(
        server.command("user", "add", f"schema-{role}", "--role", role), input=f"{PASSWORD}\n",
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
    fleet = start.winsim(4)
    server = start.server("--targets.allow", "127.0.0.0/8", "--auth.bcrypt_cost", "4")
    add_user(server, role)
    finished, used_rules[role] = run_schemathesis(server, folder, fleet, role, DOCUMENT)
    print(finished.stdout)
    assert finished.returncode == 0, finished.stdout[-20000:]
    assert server.child.process.poll() is None
    assert PASSWORD not in server.log.read_text(errors="replace")
    documents.append(json.loads(pathlib.Path(DOCUMENT).read_text()) if DOCUMENT else document_of(server))


def test_every_rule_is_needed_and_documented():
    if set(used_rules) != set(ROLES) or not documents:
        pytest.skip("needs the runs of all roles")
    unused = {rule.name for rule in schemathesis_hooks.RULES} - set().union(*used_rules.values())
    assert not unused, f"schemathesis_hooks.RULES has rules that nothing needed: {unused}"
    told = {label for label, operation in operations(documents[0]).items() if operation.get("x-unexpressed-rules")}
    assert told == {rule.operation for rule in schemathesis_hooks.RULES}
