"""An administrator's first ten minutes: one command, then curl alone."""

import json
import os
import stat
import subprocess
import time

import pytest
import requests

from processes import ADMIN_PASSWORD, HOST_PASSWORD, Child, Server, wait_until

#: The keys of the specification's example (§9.2), level by level.
METRICS_SHAPE = {
    "device_id": int,
    "timestamp": str,
    "cpu": {"usage_percent": float},
    "memory": {"total_bytes": int, "used_bytes": int, "usage_percent": float},
    "disk": {"total_bytes": int, "used_bytes": int, "usage_percent": float},
    "network": {
        "bytes_sent_per_sec": int,
        "bytes_recv_per_sec": int,
        "utilization_percent": float,
        "packets_sent": int,
        "packets_recv": int,
        "errors": int,
        "dropped": int,
    },
    "process_count": int,
}
ADDITIONS = {"collection_duration_ms": int, "job_id": str}


def assert_shape(value, shape, path="data"):
    assert set(value) == set(shape), path
    for key, expected in shape.items():
        if isinstance(expected, dict):
            assert_shape(value[key], expected, f"{path}.{key}")
        elif expected is float:
            assert isinstance(value[key], (int, float)) and not isinstance(value[key], bool), f"{path}.{key}"
        else:
            assert type(value[key]) is expected, f"{path}.{key}: {value[key]!r}"


class Curl:
    """The tour of the README, with nothing but curl."""

    def __init__(self, server):
        self.server = server
        self.token = None

    def __call__(self, method, path, body=None):
        command = [
            "curl", "--silent", "--show-error", "--max-time", "20", "--cacert", self.server.certificate,
            "--request", method, "--write-out", "\n%{http_code}",
        ]  # fmt: skip
        if self.token:
            command += ["--header", f"Authorization: Bearer {self.token}"]
        if body is not None:
            command += ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
        command.append(f"{self.server.url}/api/v1{path}")
        finished = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert finished.returncode == 0, finished.stderr
        text, status = finished.stdout.rsplit("\n", 1)
        return int(status), json.loads(text)


def first_row(server, fleet, credential, **device):
    """Login, credential, device, provision, metrics; answers (curl, device id, metrics)."""
    curl = Curl(server)
    status, login = curl("POST", "/auth/login", {"username": "admin", "password": ADMIN_PASSWORD})
    assert status == 200 and set(login["data"]) >= {"access_token", "refresh_token", "expires_at"}
    curl.token = login["data"]["access_token"]
    status, created = curl("POST", "/credentials", {"name": "Windows", "username": "monitor", **credential})
    assert status == 201, created
    assert "password" not in json.dumps(created)
    status, added = curl("POST", "/devices", {"ip": fleet.address(0), **device})
    assert status == 201, added
    identifier = added["data"]["id"]
    status, provisioned = curl(
        "POST", f"/devices/{identifier}/provision", {"credential_id": created["data"]["id"], "polling_interval": 5}
    )
    assert status == 200
    assert provisioned["data"] == {
        "device_id": identifier,
        "status": "provisioned",
        "message": "Device provisioned for monitoring",
    }

    def metrics():
        status, answer = curl("GET", f"/devices/{identifier}/metrics")
        if status == 404:
            assert answer["error"]["code"] == "NOT_FOUND"
            return None
        assert status == 200
        return answer["data"]

    found = wait_until(metrics, 15, f"the first row: {curl('GET', f'/devices/{identifier}')}")
    return curl, identifier, found


def assert_equals_truth(fleet, metrics):
    """With --static: memory, disk and process count exactly, CPU and rates within 1 %."""
    truth = fleet.state(fleet.address(0), metrics["timestamp"], metrics["timestamp"])
    assert metrics["memory"]["total_bytes"] == truth["memory_total_bytes"]
    assert metrics["memory"]["used_bytes"] == truth["memory_used_bytes"]
    assert metrics["disk"]["total_bytes"] == truth["disk_total_bytes"]
    assert metrics["disk"]["used_bytes"] == truth["disk_used_bytes"]
    assert metrics["process_count"] == truth["process_count"]
    assert metrics["cpu"]["usage_percent"] == pytest.approx(truth["cpu_usage_percent"], rel=0.01)
    network = metrics["network"]
    assert network["bytes_sent_per_sec"] == pytest.approx(truth["bytes_sent_per_sec"], rel=0.01)
    assert network["bytes_recv_per_sec"] == pytest.approx(truth["bytes_recv_per_sec"], rel=0.01)
    assert network["packets_sent"] == pytest.approx(truth["packets_sent"], rel=0.01)
    assert network["packets_recv"] == pytest.approx(truth["packets_recv"], rel=0.01)
    assert network["errors"] == pytest.approx(truth["errors"], abs=1)
    assert network["dropped"] == pytest.approx(truth["dropped"], abs=1)
    assert 0 < network["utilization_percent"] <= 100


NTLM = {"credential_type": "winrm_ntlm", "password": HOST_PASSWORD}


def test_from_nothing_to_the_first_row(start):
    fleet = start.winsim(1, static=True)
    server = start.server()
    curl, identifier, metrics = first_row(server, fleet, NTLM)
    assert_shape(metrics, {**METRICS_SHAPE, **ADDITIONS})
    assert metrics["device_id"] == identifier
    assert_equals_truth(fleet, metrics)
    status, device = curl("GET", f"/devices/{identifier}")
    truth = fleet.state(fleet.address(0))
    assert device["data"]["status"] == "monitoring"
    assert device["data"]["last_error"] is None
    assert device["data"]["os"] == truth["os"]
    assert device["data"]["hostname"] == truth["hostname"]
    assert device["data"]["last_seen"] is not None


def test_moving_values_agree_with_the_truth_over_the_rows_own_window(start):
    fleet = start.winsim(3)
    server = start.server()
    api = server.api()
    credential = api.credential()
    devices = [api.add(address, credential, interval=5) for address in fleet.addresses]
    wait_until(lambda: all(len(api.rows(d)) >= 4 for d in devices), 40, "four rows of each")
    compared = 0
    for device, address in zip(devices, fleet.addresses):
        points = api.rows(device)
        for before, row in zip(points, points[1:]):
            truth = fleet.state(address, before["timestamp"], row["timestamp"])
            assert row["cpu"]["usage_percent"] == pytest.approx(truth["cpu_usage_percent"], rel=0.02, abs=0.02)
            for name in ("bytes_sent_per_sec", "bytes_recv_per_sec"):
                assert row["network"][name] == pytest.approx(truth[name], rel=0.02), name
            assert row["memory"]["used_bytes"] == pytest.approx(truth["memory_used_bytes"], rel=0.02)
            compared += 1
    assert compared >= 9


def test_a_second_start_keeps_the_data_and_a_second_server_is_refused(start):
    fleet = start.winsim(1)
    server = start.server()
    _, identifier, metrics = first_row(server, fleet, NTLM)

    second = Child(server.command("serve", "--server.port", 0), server.folder / "second.log")
    assert second.process.wait(30) == 78 or second.process.returncode != 0
    assert str(server.data) in second.output
    assert requests.get(f"{server.url}/health", verify=server.certificate, timeout=5).ok

    assert server.stop() == 0
    certificate = open(server.certificate).read()
    server.start()
    assert open(server.certificate).read() == certificate
    api = server.api()
    assert any(row["job_id"] == metrics["job_id"] for row in api.rows(identifier))
    # Polling goes on by itself.
    wait_until(lambda: len(api.rows(identifier)) >= 3, 20, "rows after the restart")


def test_the_first_password_is_generated_and_only_in_its_file(start):
    server = start.server(environment={"NMSLITE_ADMIN_PASSWORD": ""})
    file = server.data / "initial-admin-password"
    password = file.read_text().strip()
    assert len(password) >= 20
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert server.api(password=password).call("GET", "/devices")["total"] == 0
    text = server.log.read_text()
    assert password not in text
    assert str(file) in text
    assert stat.S_IMODE(os.stat(server.data).st_mode) == 0o711
    for name in ("postgres", "nats"):
        assert stat.S_IMODE(os.stat(server.data / name).st_mode) == 0o700
    for secret in (server.data / "secrets").iterdir():
        assert stat.S_IMODE(os.stat(secret).st_mode) == 0o600


def test_stopping_takes_no_longer_than_promised_and_leaves_no_child(start):
    fleet = start.winsim(1)
    server = start.server()
    first_row(server, fleet, NTLM)
    from processes import children_of

    mine = str(server.data)
    assert children_of(mine)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 15
    assert children_of(mine) == []


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (["--server.port", "80800"], {}, ["server.port", "80800", "--server.port"]),
        (["--polling.wroker_count", "5"], {}, ["polling.wroker_count"]),
        ([], {"NMSLITE_POLLING_TIMEOUT": "soon"}, ["polling.timeout", "soon", "NMSLITE_POLLING_TIMEOUT"]),
        (["--database.host", "127.0.0.1"], {}, ["jwt_secret"]),
        (["--config", "/nonexistent/config.yaml"], {}, ["/nonexistent/config.yaml"]),
    ],
)
def test_bad_configuration_is_refused_at_once(folder, arguments, environment, expected):
    server = Server(folder, environment=environment)
    child = Child(server.command("serve", *arguments), folder / "bad.log", environment)
    assert child.process.wait(20) == 78, child.output
    for text in expected:
        assert text in child.output
    assert not server.data.exists() or not (server.data / "postgres").exists()


def run(server, *arguments, stdin=None):
    return subprocess.run(
        [str(part) for part in server.command(*arguments)],
        input=stdin, capture_output=True, text=True, timeout=60, cwd=server.folder,
    )  # fmt: skip


def test_users_beside_a_running_server_and_without_one(start):
    server = start.server()
    added = run(server, "user", "add", "viola", "--role", "viewer", stdin="Vi0la-acceptance\n")
    assert added.returncode == 0 and added.stdout == "added viola (viewer)\n" and added.stderr == ""
    viola = server.api("viola", "Vi0la-acceptance")
    assert viola.call("GET", "/devices")["total"] == 0
    assert viola.call("POST", "/devices", {"ip": "127.100.0.1"}, status=403)["code"] == "FORBIDDEN"
    assert run(server, "user", "add", "VIOLA", stdin="x" * 12 + "\n").returncode != 0
    assert run(server, "user", "passwd", "viola", stdin="y" * 73 + "\n").returncode == 78

    # A changed password and a removal end sessions within five seconds.
    assert run(server, "user", "passwd", "viola", stdin="An0ther-acceptance\n").returncode == 0
    wait_until(lambda: viola.request("GET", "/devices").status_code == 401, 5, "the session's end")
    viola = server.api("viola", "An0ther-acceptance")
    assert run(server, "user", "remove", "viola").returncode == 0
    wait_until(lambda: viola.request("GET", "/devices").status_code == 401, 5, "the removed user's end")

    assert server.stop() == 0
    listed = run(server, "user", "list")
    assert listed.returncode == 0 and listed.stdout.startswith("admin\tadmin\t") and listed.stderr == ""
    status = run(server, "migrate", "status")
    assert status.returncode == 0 and "init_schema: applied" in status.stdout
    from processes import children_of

    assert children_of(str(server.data)) == []


def test_help_and_mistakes_on_the_command_line(folder):
    server = Server(folder)
    for arguments in (["--help"], ["serve", "--help"], ["user", "add", "--help"], ["help"]):
        shown = subprocess.run(
            [server.command()[0], *arguments], capture_output=True, text=True, timeout=20
        )
        assert shown.returncode == 0 and "USAGE" in shown.stdout and shown.stderr == "", arguments
    assert "--polling.worker_count" in subprocess.run(
        [server.command()[0], "--help"], capture_output=True, text=True, timeout=20
    ).stdout
    wrong = run(server, "frobnicate")
    assert wrong.returncode == 78 and "frobnicate" in wrong.stderr
