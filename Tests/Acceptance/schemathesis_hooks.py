"""What schemathesis may not hold against the server: rules that the OpenAPI document cannot express.

schemathesis imports this file itself (SCHEMATHESIS_HOOKS). The table below is all there is: every check and every
phase is on, and a failure that no rule names is a failure of the test. A rule that no run needed fails it as well.
"""

import dataclasses
import datetime
import json
import os

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


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule that a schema can't express, and the answer to a request that breaks it."""

    name: str
    #: Method and path without /api/v1.
    operation: str
    status: int
    #: `error.code` and `error.details.field` of the answer.
    code: str
    field: str | None
    #: Whether the request really breaks the rule, judged from the request alone where it can be.
    breaks: callable = lambda case: True


RULES = [
    Rule(
        "from is not before to",
        "GET /devices/{id}/metrics/history",
        400,
        "VALIDATION_ERROR",
        "from",
        from_is_not_before_to,
    ),
]


def broken_rule(failure, case, response):
    """The rule that a request broke which its schema allows."""
    if type(failure).__name__ != "RejectedPositiveData":
        return None
    method, _, path = failure.operation.partition(" ")
    # HEAD is GET, and its answers have no body that could say more than the status.
    head = method == "HEAD"
    label = f"{'GET' if head else method} {path.removeprefix(BASE)}"
    error = {} if head else json.loads(response.content)["error"]
    for rule in RULES:
        told = head or (rule.code == error["code"] and rule.field == (error.get("details") or {}).get("field"))
        if rule.operation == label and rule.status == response.status_code and told and rule.breaks(case):
            return rule
    return None


@schemathesis.hook
def filter_failure(context, failure, case, response):
    rule = broken_rule(failure, case, response)
    if rule is None:
        return True
    with open(os.environ["NMSLITE_RULES_USED"], "a") as used:
        used.write(f"{rule.name}\n")
    return False
