"""What schemathesis may not hold against the server: rules that the OpenAPI document cannot express.

schemathesis imports this file itself (SCHEMATHESIS_HOOKS). The table below is all there is: every check and every
phase is on, and a failure that no rule names is a failure of the test. Each rule has a request
that proves the need for it: test_openapi.py fails when the schema has learnt to refuse it, or the server to take it.
"""

import dataclasses
import datetime
import ipaddress
import json
import re

import schemathesis

BASE = "/api/v1"


def moment(text):
    return datetime.datetime.fromisoformat(str(text).upper())


def from_is_not_before_to(case):
    """With the defaults of the specification: now, and an hour before."""
    query = case.query or {}
    to = moment(query["to"]) if "to" in query else datetime.datetime.now(datetime.UTC)
    begin = moment(query["from"]) if "from" in query else to - datetime.timedelta(hours=1)
    return begin >= to


def may_not_go_with_basic(case):
    """What a change says of one field, the stored others may forbid: only for the type that has rules across fields."""
    body = case.body
    readable = body.get("use_ssl") is False or body.get("allow_unencrypted_basic") is False
    return body.get("credential_type") == "winrm_basic" or readable or ":" in body.get("username", "")


def has_wide_mapped_network(case):
    """`::ffff:192.168.0.0/90`: IPv4 addresses, and more than all of them."""
    parts = [text.partition("/") for text in case.body["allowed_targets"]]
    return any(
        getattr(ipaddress.ip_address(address), "ipv4_mapped", None) is not None and int(prefix) < 96
        for address, _, prefix in parts
    )


#: Of an IPv4 /16, and the default of `discovery.max_addresses`.
MOST_TARGETS = 65_536
#: What the parser of targets takes, in bytes.
LONGEST_TARGETS = 16_384


def span(text):
    """The first and the last address of one part of a list of targets; ValueError for what isn't one."""
    if "%" in text:
        raise ValueError("a zone")
    if "/" in text:
        address, _, prefix = text.partition("/")
        network = ipaddress.ip_network(f"{address}/{int(prefix)}", strict=False)
        first, last = int(network[0]), int(network[-1])
        # Nobody is at a subnet's own address or at its broadcast address.
        return (first + 1, last - 1) if network.version == 4 and network.prefixlen < 31 else (first, last)
    first, dash, last = text.partition("-")
    if dash and "." not in last and ":" not in last:
        last = f"{first.rpartition('.')[0]}.{int(last)}"
    first, last = ipaddress.ip_address(first), ipaddress.ip_address(last if dash else first)
    if first.version != last.version or first > last:
        raise ValueError("no range")
    return int(first), int(last)


def has_unusable_targets(case):
    parts = case.body["subnet"].split(",")
    excluded = [part.strip().removeprefix("!").strip() for part in parts if part.strip().startswith("!")]
    excluded += [part.strip().removeprefix("!") for part in case.body.get("exclude", [])]
    if sum(len(part.encode()) + 2 for part in parts + excluded) > LONGEST_TARGETS:
        return True
    try:
        wanted = [span(part.strip()) for part in parts if not part.strip().startswith("!")]
        holes = [span(part) for part in excluded]
    except ValueError:
        return True
    if any(last - first >= MOST_TARGETS for first, last in wanted):
        return True
    left = set().union(*(range(first, last + 1) for first, last in wanted))
    left -= {address for address in left if any(first <= address <= last for first, last in holes)}
    return not 0 < len(left) <= MOST_TARGETS


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule that a schema can't express, and the answer to a request that breaks it."""

    name: str
    #: Method and path without /api/v1.
    operation: str
    status: int
    #: `error.code` of the answer, and a pattern of its `error.details.field`.
    code: str
    field: str
    #: Whether the request really breaks the rule, as far as the request alone can tell.
    breaks: callable
    #: A request that its schema allows and that breaks the rule, for the test that the rule is needed.
    query: dict | None = None
    body: dict | None = None
    #: schemathesis' name of the failure.
    failure: str = "RejectedPositiveData"


CREDENTIAL = {"name": "rule", "credential_type": "winrm_ntlm", "username": "monitor", "password": "any"}

RULES = [
    Rule(
        "bcrypt takes 72 bytes",
        "POST /auth/login",
        400,
        "VALIDATION_ERROR",
        "password",
        lambda case: len(case.body["password"].encode()) > 72,
        body={"username": "admin", "password": "é" * 37},
    ),
    Rule(
        "a network of mapped addresses in a new credential",
        "POST /credentials",
        400,
        "VALIDATION_ERROR",
        r"allowed_targets\[\d+\]",
        has_wide_mapped_network,
        body={**CREDENTIAL, "allowed_targets": ["127.0.0.0/8", "::ffff:10.0.0.0/90"]},
    ),
    Rule(
        "a network of mapped addresses in a changed credential",
        "PUT /credentials/{id}",
        400,
        "VALIDATION_ERROR",
        r"allowed_targets\[\d+\]",
        has_wide_mapped_network,
        body={"allowed_targets": ["::ffff:10.0.0.0/90"]},
    ),
    Rule(
        "what is not given stays, and does not go with winrm_basic",
        "PUT /credentials/{id}",
        400,
        "VALIDATION_ERROR",
        "use_ssl|username",
        may_not_go_with_basic,
        body={"credential_type": "winrm_basic"},
    ),
    Rule(
        "no targets, too many, or none that are left",
        "POST /devices/discover",
        400,
        "VALIDATION_ERROR",
        r"subnet|exclude(\[\d+\])?",
        has_unusable_targets,
        body={"subnet": "127.0.0.0/8"},
    ),
    Rule(
        "from is not before to in a history",
        "GET /devices/{id}/metrics/history",
        400,
        "VALIDATION_ERROR",
        "from",
        from_is_not_before_to,
        query={"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
    ),
    Rule(
        "from is not before to in the audit",
        "GET /audit",
        400,
        "VALIDATION_ERROR",
        "from",
        lambda case: moment(case.query["from"]) >= moment(case.query["to"]),
        query={"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
    ),
    Rule(
        "a new device has no metrics before its first poll",
        "GET /devices/{id}/metrics",
        404,
        "NOT_FOUND",
        "",
        lambda case: True,
        failure="EnsureResourceAvailability",
    ),
    # The 404 means the credential, as its field tells, not the device that was just made.
    *(
        Rule(
            f"a credential that does not exist, for {operation}",
            operation,
            404,
            "NOT_FOUND",
            r"credential_ids?(\[\d+\])?",
            lambda case: {"credential_id", "credential_ids"} & set(case.body or {}),
            body={"credential_id": 2147483647},
            failure="EnsureResourceAvailability",
        )
        for operation in ("POST /devices/{id}/provision", "POST /devices/{id}/test")
    ),
]


def broken_rule(failure, case, response):
    """The rule that a request broke which its schema allows."""
    if type(failure).__name__ not in {rule.failure for rule in RULES}:
        return None
    method, _, path = case.operation.label.partition(" ")
    # HEAD is GET, and its answers have no body that could say more than the status.
    head = method == "HEAD"
    label = f"{'GET' if head else method} {path.removeprefix(BASE)}"
    error = {} if head else json.loads(response.content)["error"]
    for rule in RULES:
        field = (error.get("details") or {}).get("field") or ""
        told = head or (rule.code == error["code"] and re.fullmatch(rule.field, field))
        same = (rule.operation, rule.status, rule.failure) == (label, response.status_code, type(failure).__name__)
        if same and told and rule.breaks(case):
            return rule
    return None


@schemathesis.hook
def filter_failure(context, failure, case, response):
    return broken_rule(failure, case, response) is None
