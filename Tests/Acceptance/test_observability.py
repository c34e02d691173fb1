"""GET /metrics of a real server over a small fleet, held against what is known to be true."""

import os
import pathlib
import re
import signal
import time

import pytest
import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from processes import BIN, Child, ROOT, WRONG_PASSWORD, free_port, wait_until

TOKEN = "acceptance-0123456789abcdef0123456789abcdef"
INTERVAL = 5


class Metrics:
    """One scrape, read by Prometheus' own parser."""

    def __init__(self, text, parse=parse_text):
        self.families = {family.name: family for family in parse(text)}
        self.samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name, **labels):
        """One series; 0 when there is none."""
        return self.samples.get((name, tuple(sorted(labels.items()))), 0)

    def total(self, name, **labels):
        """The sum over the labels that are not named."""
        wanted = set(labels.items())
        return sum(value for (n, own), value in self.samples.items() if n == name and wanted <= set(own))


def scrape(server, token=TOKEN, accept=None, parse=parse_text):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if accept:
        headers["Accept"] = accept
    session = requests.Session()
    session.trust_env = False
    answer = session.get(f"{server.url}/metrics", headers=headers, verify=server.certificate, timeout=20)
    assert answer.status_code == 200, answer.text
    return Metrics(answer.text, parse)


def secret_file(folder):
    file = pathlib.Path(folder) / "scrape-token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def observed(start, folder):
    def make(*arguments):
        return start.server("--metrics.scrape_token_file", secret_file(folder), *arguments)

    return make


def settled(server, condition, timeout, what):
    """Waits for a scrape with the condition and returns it."""

    def look():
        metrics = scrape(server)
        return metrics if condition(metrics) else None

    return wait_until(look, timeout, what, interval=0.5)


def test_the_numbers_are_true(start, observed):
    healthy, refusing, wrong = 6, 2, 1
    fleet = start.winsim(healthy + refusing + wrong)
    started_at = time.time()
    server = observed()
    api = server.api()
    good = api.credential()
    bad = api.credential("wrong", WRONG_PASSWORD)
    ready_at = time.time()
    begun = scrape(server)
    assert begun("nmslite_devices", status="discovered") == 0

    fleet.set_faults([{"hosts": fleet.address(healthy + n), "fault": "refused"} for n in range(refusing)])
    devices = [api.add(fleet.address(n), good, interval=INTERVAL) for n in range(healthy + refusing)]
    suspended = api.add(fleet.address(healthy + refusing), bad, interval=INTERVAL)
    for device in devices[:healthy]:
        api.wait_for(device, lambda d: d["status"] == "monitoring", 30, "monitoring")
    time.sleep(3 * INTERVAL)
    # No more polls: what was polled is then what is stored.
    for device in [*devices, suspended]:
        api.call("POST", f"/devices/{device}/deprovision")
    metrics = settled(
        server,
        lambda m: m("nmslite_queue_messages", stream="metrics_results", state="pending") == 0
        and m("nmslite_queue_messages", stream="metrics_results", state="unacknowledged") == 0
        and m("nmslite_queue_messages", stream="poll_jobs", state="pending") == 0
        # A job is acknowledged after its poll was counted.
        and m("nmslite_queue_messages", stream="poll_jobs", state="unacknowledged") == 0
        and m("nmslite_poll_workers_busy") == 0,
        30,
        "the queues are empty",
    )

    # Polls by result equal the rows, and the failures that the hosts can tell of.
    rows = sum(len(api.rows(device)) for device in [*devices, suspended])
    discarded = metrics("nmslite_writer_discarded_total", reason="not_provisioned")
    good_polls = metrics("nmslite_polls_total", result="success")
    assert rows > 3 * healthy and metrics("nmslite_writer_rows_total") == rows
    assert rows <= good_polls <= rows + discarded
    assert metrics("nmslite_polls_total", result="connection_refused") >= 3 * refusing
    logins = fleet.state(fleet.address(healthy + refusing))["failed_logins"]
    assert logins == metrics("nmslite_polls_total", result="auth_failed") == 2
    assert metrics("nmslite_polls_total", result="credential_suspended") >= 1
    polls = metrics.total("nmslite_polls_total")
    assert metrics.total("nmslite_poll_duration_seconds_count") == polls
    assert metrics("nmslite_poll_duration_seconds_count", outcome="success") == good_polls
    assert metrics.total("nmslite_poll_duration_seconds_bucket", le="+Inf") == polls
    # Each job that the scheduler published, and each that provisioning published at once, ended in one of these.
    jobs = metrics("nmslite_schedule_jobs_total", result="published")
    assert metrics("nmslite_schedule_lag_seconds_count") == jobs > 2 * len(devices)
    ended = polls + sum(
        metrics("nmslite_poll_jobs_dropped_total", reason=reason) for reason in ("late", "overlapped", "orphaned")
    )
    assert ended == jobs + len(devices) + 1
    # Each result was stored, or is accounted for.
    stored = metrics("nmslite_writer_batch_results_sum")
    assert stored == polls
    assert metrics("nmslite_writer_batches_total") == metrics("nmslite_writer_batch_duration_seconds_count")
    assert metrics("nmslite_queue_dead_letters") == 0 and metrics("nmslite_writer_buried_total") == 0

    # Requests: those of this very client.
    before = scrape(server)
    for _ in range(5):
        api.show(devices[0])
    api.call("GET", "/devices/999999", status=404)
    after = scrape(server)
    route = {"method": "GET", "route": "/api/v1/devices/{id}"}

    def grown(name, **labels):
        return after(name, **labels) - before(name, **labels)

    assert grown("nmslite_http_requests_total", status="2xx", **route) == 5
    assert grown("nmslite_http_requests_total", status="4xx", **route) == 1
    assert grown("nmslite_http_request_duration_seconds_count", **route) == 6
    scrapes = {"method": "GET", "route": "/metrics"}
    assert grown("nmslite_http_requests_total", status="2xx", **scrapes) == 1
    assert after("nmslite_sign_ins_total", result="success") == 1

    # State.
    # The numbers of devices are up to 5 s old.
    settled(server, lambda m: m("nmslite_devices", status="discovered") == len(devices) + 1, 30, "devices by status")
    assert after("nmslite_scheduler_leader") == 1 and after("nmslite_queue_connected") == 1
    assert after("nmslite_child_up", child="postgres") == 1 and after("nmslite_child_up", child="nats") == 1
    assert after("nmslite_db_connections_max") == 25 and after("nmslite_db_acquire_duration_seconds_count") > 0
    assert after("nmslite_cache_hits_total", cache="poll_devices") > 0
    stat = pathlib.Path(f"/proc/{server.child.process.pid}/fd")
    assert abs(after("process_open_fds") - len(list(stat.iterdir()))) < 20
    # The kernel tells it in seconds since it started itself.
    assert started_at - 5 < after("process_start_time_seconds") < ready_at + 5


def test_a_killed_child_is_counted(observed):
    server = observed()
    before = scrape(server)
    assert before("nmslite_child_restarts_total", child="nats") == 0
    pid = next(pid for pid, command in children(server.data) if "nats-server" in command)
    os.kill(pid, signal.SIGKILL)
    after = settled(
        server,
        lambda m: m("nmslite_child_restarts_total", child="nats") == 1
        and m("nmslite_child_up", child="nats") == 1
        and m("nmslite_queue_connected") == 1,
        60,
        "nats is back",
    )
    assert after("nmslite_child_restarts_total", child="postgres") == 0
    assert after("nmslite_queue_reconnects_total") >= 1
    # A scrape while it was away lacked its series and said so; none failed.
    assert after("nmslite_child_up", child="postgres") == 1


def children(data):
    """Processes that work on a data directory."""
    for process in pathlib.Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        # The guard in front of it bears the same arguments behind its own name.
        if str(data) in command and command.split(" ")[0].endswith("nats-server"):
            yield int(process.name), command


def test_the_exposition_and_the_document_agree(start, observed):
    fleet = start.winsim(2)
    server = observed()
    api = server.api()
    credential = api.credential()
    for address in fleet.addresses:
        api.metrics(api.add(address, credential, interval=INTERVAL))
    metrics = scrape(server)
    text = (ROOT / "docs" / "observability.md").read_text()
    documented = dict(re.findall(r"^\| `([a-z_]+)` \| ([a-z]+) \|", text, re.MULTILINE))
    # The parser calls a counter's family by its name without _total.
    exposed = {name + ("_total" if f.type == "counter" else ""): f.type for name, f in metrics.families.items()}
    assert exposed == documented
    for name, family in metrics.families.items():
        assert family.samples, f"{name} has no series"
        assert family.documentation
    # No label says more than it may.
    for name, labels in metrics.samples:
        for label, value in labels:
            assert label in {
                "method", "route", "status", "le", "result", "reason", "outcome", "collector", "stream", "state",
                "version", "cache", "child", "sampler",
            }, f"{name}: {label}"  # fmt: skip
            assert not re.search(r"\d+\.\d+\.\d+\.\d+", value), f"{name}: {value}"
    assert len(metrics.samples) < 3000
    # The strict parser of OpenMetrics finds the same.
    accept = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5"
    strict = scrape(server, accept=accept, parse=parse_openmetrics)
    assert set(strict.families) == set(metrics.families)
    assert "a metric is not counted" not in server.log.read_text(errors="replace")


def test_who_may_scrape(start, observed):
    port = free_port()
    server = observed("--metrics.listen", f"127.0.0.1:{port}")
    api = server.api()
    admin = api.tokens["access_token"]
    for authorization in (None, "Bearer wrong", f"Bearer {admin}", f"Basic {TOKEN}"):
        headers = {"Authorization": authorization} if authorization else {}
        answer = requests.get(f"{server.url}/metrics", headers=headers, verify=server.certificate, timeout=10)
        assert answer.status_code == 401 and answer.json()["error"]["code"] == "UNAUTHORIZED"
        assert answer.headers["X-Request-ID"] and "nmslite_" not in answer.text
    refused = requests.get(
        f"{server.url}/api/v1/devices",
        headers={"Authorization": f"Bearer {TOKEN}"},
        verify=server.certificate,
        timeout=10,
    )
    assert refused.status_code == 401
    # The listener needs no token, and has nothing else.
    plain = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
    assert plain.ok and "nmslite_build_info" in plain.text
    assert requests.get(f"http://127.0.0.1:{port}/api/v1/health", timeout=10).status_code == 404
    log = server.log.read_text(errors="replace")
    assert TOKEN not in log and admin not in log

    # Lines of services below carry the id of the request that they are about.
    wrong = {"username": "nobody", "password": "wrong"}
    answer = requests.post(
        f"{server.url}/api/v1/auth/login",
        json=wrong,
        headers={"X-Request-ID": "acceptance-4711"},
        verify=server.certificate,
        timeout=10,
    )
    assert answer.status_code == 401
    lines = [line for line in server.log_lines() if '"msg":"login failed"' in line]
    assert lines and all('"request_id":"acceptance-4711"' in line for line in lines)


def test_without_configuration_there_is_nothing(start):
    server = start.server()
    for headers in ({}, {"Authorization": f"Bearer {TOKEN}"}):
        answer = requests.get(f"{server.url}/metrics", headers=headers, verify=server.certificate, timeout=10)
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "NOT_FOUND"


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "192.0.2.1:9464", "localhost:9464", "[::]:9464"])
def test_other_machines_are_refused_at_the_start(folder, address):
    child = Child([BIN / "nmslite", "serve", "--data_dir", folder / "x", "--metrics.listen", address], folder / "refused.log")
    assert child.process.wait(20) == 78
    assert "metrics.listen" in child.output and "loopback" in child.output
