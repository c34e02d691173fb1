"""Runs a Postman collection (v2.1) in order, with its own test scripts, as Postman's collection runner does.

Only what api/postman needs: raw bodies, bearer tokens, path variables, environment and collection variables, events
`prerequest` and `test`, `pm.execution.setNextRequest`. Anything else is an error, never skipped. The scripts run in V8,
the engine of Postman itself; postman_sandbox.js is their `pm`.

    .venv/bin/python Tests/Acceptance/postman_runner.py api/postman/nmslite.postman_collection.json \
        --environment api/postman/nmslite.postman_environment.json --set password=… --cacert DATA_DIR/tls/server.crt
"""

import argparse
import dataclasses
import json
import pathlib
import re
import sys
import time

import requests
from py_mini_racer import MiniRacer

SANDBOX = pathlib.Path(__file__).with_name("postman_sandbox.js")
#: A script that computes for this long hangs.
SCRIPT_TIMEOUT = 10
#: setNextRequest can make loops.
MAXIMUM_REQUESTS = 500
REQUEST_TIMEOUT = 60


class Unsupported(Exception):
    """The collection has something that this runner does not do."""


@dataclasses.dataclass
class Result:
    """One request that was sent."""

    name: str
    method: str
    url: str
    code: int
    #: (name, None or what was wrong), scripts that threw included.
    tests: list
    body: str
    headers: dict
    milliseconds: int

    @property
    def failures(self):
        return [f"{self.name}: {name}: {error}" for name, error in self.tests if error]


@dataclasses.dataclass
class Item:
    """A request of the collection with the events of everything around it, outermost first."""

    name: str
    request: dict
    events: list
    auth: dict | None
    examples: list
    folder: tuple

    def scripts(self, kind):
        for event in self.events:
            if event["listen"] not in ("prerequest", "test"):
                raise Unsupported(f"event {event['listen']} of {self.name}")
            if event["listen"] == kind and not event.get("disabled"):
                source = event["script"]["exec"]
                yield "\n".join(source) if isinstance(source, list) else source


def items(collection):
    """Every request in the order in which Postman runs them."""

    def walk(node, events, auth, folder):
        events = events + node.get("event", [])
        auth = node.get("auth", auth)
        for child in node.get("item", []):
            if "item" in child:
                yield from walk(child, events, auth, (*folder, child["name"]))
            else:
                request = child["request"]
                yield Item(
                    child["name"], request, events + child.get("event", []), request.get("auth", auth),
                    child.get("response", []), folder,
                )  # fmt: skip

    return list(walk(collection, [], None, ()))


def substitute(text, values):
    def value(match):
        name = match.group(1)
        if name not in values:
            raise Unsupported(f"the variable {name} has no value")
        return str(values[name])

    return re.sub(r"\{\{([^{}]+)\}\}", value, text)


def url_of(request, values):
    """The address with its variables; `raw` is what Postman shows, the parts are what it sends."""
    url = request["url"]
    variables = {v["key"]: substitute(v["value"], values) for v in url.get("variable", [])}
    parts = []
    for part in url["path"]:
        if part.startswith(":"):
            part = variables[part[1:]]
        parts.append(substitute(part, values))
    address = substitute("".join(url["host"]), values) + "/" + "/".join(parts)
    query = [q for q in url.get("query", []) if not q.get("disabled")]
    if query:
        address += "?" + "&".join(
            f"{q['key']}={requests.utils.quote(substitute(q['value'], values), safe='')}" for q in query
        )
    return address


class Runner:
    def __init__(self, collection, environment, verify=True):
        self.items = items(collection)
        self.environment = dict(environment)
        self.collection = {v["key"]: v["value"] for v in collection.get("variable", [])}
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = verify
        self.engine = MiniRacer()
        self.engine.eval(SANDBOX.read_text())

    def run(self, report=lambda result: None):
        """Sends everything in order and returns the results."""
        results, index = [], 0
        while index < len(self.items):
            if len(results) >= MAXIMUM_REQUESTS:
                raise Unsupported(f"more than {MAXIMUM_REQUESTS} requests: a loop of setNextRequest?")
            result, following = self.send(self.items[index])
            results.append(result)
            report(result)
            index = index + 1 if following is None else self.find(following[0])
        return results

    def find(self, name):
        """Where setNextRequest goes to; null ends the run."""
        if name is None:
            return len(self.items)
        for index, item in enumerate(self.items):
            if item.name == name:
                return index
        raise Unsupported(f"setNextRequest({name!r}): there is no such request")

    @property
    def values(self):
        return {**self.collection, **self.environment}

    def send(self, item):
        tests, following = [], None
        context = {"name": item.name, "method": item.request["method"], "url": ""}
        for script in item.scripts("prerequest"):
            following = self.execute(script, {**context, "event": "prerequest"}, tests) or following
        headers, body = self.prepare(item)
        address = url_of(item.request, self.values)
        begun = time.monotonic()
        answer = self.session.request(
            item.request["method"], address, headers=headers, data=body, timeout=REQUEST_TIMEOUT, allow_redirects=False
        )
        milliseconds = round((time.monotonic() - begun) * 1000)
        context |= {
            "event": "test",
            "url": address,
            "response": {
                "code": answer.status_code,
                "status": answer.reason,
                "headers": list(answer.headers.items()),
                "body": answer.content.decode(),
                "time": milliseconds,
            },
        }
        for script in item.scripts("test"):
            following = self.execute(script, context, tests) or following
        result = Result(
            item.name, item.request["method"], address, answer.status_code, tests, answer.text, dict(answer.headers),
            milliseconds,
        )  # fmt: skip
        return result, following

    def prepare(self, item):
        """Headers and body."""
        headers = {
            header["key"]: substitute(header["value"], self.values)
            for header in item.request.get("header", [])
            if not header.get("disabled")
        }
        auth = item.auth or {"type": "noauth"}
        if auth["type"] == "bearer":
            token = {entry["key"]: entry["value"] for entry in auth["bearer"]}["token"]
            headers["Authorization"] = f"Bearer {substitute(token, self.values)}"
        elif auth["type"] != "noauth":
            raise Unsupported(f"auth {auth['type']} of {item.name}")
        body = item.request.get("body")
        if body is None:
            return headers, None
        if body["mode"] != "raw":
            raise Unsupported(f"body {body['mode']} of {item.name}")
        if body.get("options", {}).get("raw", {}).get("language") == "json":
            headers.setdefault("Content-Type", "application/json")
        return headers, substitute(body["raw"], self.values).encode()

    def execute(self, script, context, tests):
        """Runs a script with its timers; returns [name] when it chose the next request."""
        given = {**context, "environment": self.environment, "collection": self.collection}
        call = f"runScript({json.dumps(script)}, {json.dumps(given)})"
        while True:
            outcome = json.loads(self.engine.eval(call, timeout_sec=SCRIPT_TIMEOUT))
            if outcome["wait"] is None or outcome.get("error"):
                break
            time.sleep(min(outcome["wait"], REQUEST_TIMEOUT * 1000) / 1000)
            call = "runTimer()"
        tests += [(test["name"], test["error"]) for test in outcome["tests"]]
        if outcome.get("error"):
            tests.append((f"the {context['event']} script", outcome["error"]))
        for values, changed in ((self.environment, "environment"), (self.collection, "collection")):
            for name, value in outcome[changed].items():
                if value is None:
                    values.pop(name, None)
                else:
                    values[name] = value
        return outcome.get("next")


def environment_of(path):
    document = json.loads(pathlib.Path(path).read_text())
    return {value["key"]: value["value"] for value in document["values"] if value.get("enabled", True)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collection", type=pathlib.Path)
    parser.add_argument("--environment", type=pathlib.Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="overrides the environment")
    parser.add_argument("--cacert", type=pathlib.Path, help="certificate to trust; the system's by default")
    options = parser.parse_args()
    environment = environment_of(options.environment) if options.environment else {}
    environment |= dict(setting.split("=", 1) for setting in options.set)

    def report(result):
        print(f"{result.method} {result.url} → {result.code} in {result.milliseconds} ms")
        for name, error in result.tests:
            print(f"  {'✗' if error else '✓'} {name}{f': {error}' if error else ''}")

    collection = json.loads(options.collection.read_text())
    results = Runner(collection, environment, str(options.cacert) if options.cacert else True).run(report)
    failures = [failure for result in results for failure in result.failures]
    print(f"{len(results)} requests, {sum(len(r.tests) for r in results)} tests, {len(failures)} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
