"""Discovery end to end: what is found, what is stored, and what happens when something goes wrong meanwhile."""

import json
import os
import pty
import re
import signal
import subprocess
import threading
import time

import pytest
import requests

from processes import ADMIN_PASSWORD, BIN, WRONG_PASSWORD, wait_until

#: Failed logins of one credential, over all hosts, before nobody signs in with it any more (design: three hosts).
LOCKOUT_HOSTS = 3


class Discoveries:
    def __init__(self, api):
        self.api = api

    def start(self, subnet, **fields):
        answer = self.api.call("POST", "/devices/discover", {"subnet": subnet, **fields}, status=202)
        assert answer["status"] == "queued" and answer["subnet"] == subnet
        return answer["discovery_id"]

    def show(self, number, **parameters):
        return self.api.call("GET", f"/discoveries/{number}", params=parameters)

    def wait(self, number, timeout=60):
        def finished():
            shown = self.show(number, limit=1000)
            return shown if shown["status"] not in ("queued", "running") else None

        shown = wait_until(finished, timeout, f"discovery {number}: {self.show(number)}", interval=0.1)
        assert sum(shown["counts"].values()) == shown["scanned"], shown["counts"]
        assert shown["found"] == shown["counts"]["windows"] == shown["devices_total"]
        return shown

    def run(self, subnet, **fields):
        return self.wait(self.start(subnet, **fields))


def network(fleet):
    return f"{fleet.base.rsplit('.', 1)[0]}.0/24"


def devices(api):
    listed = api.call("GET", "/devices", params={"limit": 1000})
    assert listed["total"] == len(listed["devices"])
    addresses = [device["ip"] for device in listed["devices"]]
    assert len(addresses) == len(set(addresses)), "a device twice"
    return {device["ip"]: device for device in listed["devices"]}


def failed_logins(fleet):
    return requests.get(f"{fleet.truth}/hosts", timeout=10).json()["failed_logins"]


def test_a_subnet_becomes_devices(start):
    fleet = start.winsim(30, static=True)
    server = start.server()
    api = server.api()
    discoveries = Discoveries(api)

    # Without credentials: names and builds as strangers hear them, and evidence.
    found = discoveries.run(network(fleet))
    assert found["status"] == "completed"
    assert (found["scanned"], found["total"], found["found"], found["new_devices"]) == (254, 254, 30, 30)
    assert {device["ip"] for device in found["devices"]} == set(fleet.addresses)
    for device in found["devices"]:
        truth = fleet.state(device["ip"])
        assert device["hostname"].split(".")[0].lower() == truth["hostname"].split(".")[0].lower()
        assert device["build"] == str(truth["build"])
        assert device["credential_id"] is None and device["is_new"] and device["status"] == "discovered"
        assert device["evidence"]["reasons"], device
        assert {"port": 5985, "state": "open"} in device["evidence"]["ports"]
    assert set(devices(api)) == set(fleet.addresses)

    # What is known stays as it is set; what is provisioned is not touched.
    credential = api.credential()
    owned = devices(api)[fleet.address(3)]["id"]
    api.provision(owned, credential, polling_interval=77)
    named = devices(api)[fleet.address(4)]["id"]
    api.call("PUT", f"/devices/{named}", {"polling_interval": 88})

    again = discoveries.run(network(fleet), credential_ids=[credential], polling_interval=15)
    assert (again["found"], again["new_devices"]) == (30, 0)
    after = devices(api)
    assert after[fleet.address(3)]["status"] in ("provisioned", "monitoring")
    assert after[fleet.address(3)]["polling_interval"] == 77
    assert (after[fleet.address(4)]["status"], after[fleet.address(4)]["polling_interval"]) == ("discovered", 88)
    for address, device in after.items():
        truth = fleet.state(address)
        assert device["hostname"].lower() == truth["hostname"].lower()
        assert device["os"] == truth["os"]
        assert device["credential_ids"] == [credential]

    # And the last step by itself.
    third = discoveries.run(
        network(fleet), credential_ids=[credential], auto_provision=True, polling_interval=10, exclude=[fleet.address(9)]
    )
    assert (third["found"], third["total"]) == (29, 253)
    after = devices(api)
    assert after[fleet.address(9)]["status"] == "discovered"
    assert all(device["status"] != "discovered" for ip, device in after.items() if ip != fleet.address(9))
    api.wait_for(after[fleet.address(0)]["id"], lambda shown: shown["status"] == "monitoring", 20, "monitored")

    listed = api.call("GET", "/discoveries")
    assert [entry["discovery_id"] for entry in listed["discoveries"]] == [3, 2, 1]
    audit = api.call("GET", "/audit", params={"action": "device.created", "limit": 1})
    assert audit["total"] == 30 and audit["entries"][0]["actor"]["username"] == "admin"


def test_mistakes_get_their_errors(start):
    server = start.server("--targets.allow", "10.0.0.0/8,127.0.0.0/8", "--discovery.max_addresses", "1000")
    api = server.api()

    def refused(body, status=400, code="VALIDATION_ERROR", field="subnet"):
        error = api.call("POST", "/devices/discover", body, status=status)
        assert (error["code"], error["details"]["field"]) == (code, field), error
        assert len(error["message"]) > 10
        return error

    for subnet in (
        "banana", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.1-", "10.0.0.9-1", "10.0.0.300", "10.0.0.0/24,", "", " ",
        "10.0.0.0/8", "::/64", "2001:db8::/100", "10.0.0.0/21", "fe80::1%eth0", "host.example.com", "10.0.0.0/24/24",
    ):  # fmt: skip
        refused({"subnet": subnet})
    assert "discovery.max_addresses" in refused({"subnet": "10.0.0.0/21"})["message"]
    refused({"subnet": "10.0.0.0/24", "exclude": ["x"]}, field="exclude")
    refused({"subnet": "10.0.0.0/30", "exclude": ["10.0.0.0/24"]})
    refused({"subnet": "192.168.1.0/24"}, 403, "TARGET_NOT_ALLOWED")
    refused({"subnet": "10.0.0.1,192.168.1.1"}, 403, "TARGET_NOT_ALLOWED")
    refused({"subnet": "10.0.0.0/24", "ports": [0]}, field="ports[0]")
    refused({"subnet": "10.0.0.0/24", "credential_ids": [77]}, 404, "NOT_FOUND", "credential_ids")
    refused({"subnet": "10.0.0.0/24", "auto_provision": True}, field="auto_provision")
    assert api.call("GET", "/discoveries")["total"] == 0


def test_a_wrong_credential_fails_no_more_logins_than_the_guard_allows(start):
    fleet = start.winsim(300, static=True)
    server = start.server()
    api = server.api()
    wrong = api.credential("wrong", WRONG_PASSWORD)
    right = api.credential("right")
    subnet = f"{fleet.address(0)}-{fleet.address(299)}"

    found = Discoveries(api).run(subnet, credential_ids=[wrong])
    assert found["found"] == 300 and found["status"] == "completed"
    assert 1 <= failed_logins(fleet) <= LOCKOUT_HOSTS
    assert api.call("GET", f"/credentials/{wrong}")["status"] == "suspended"
    codes = {error["code"]: error["hosts"] for error in found["errors"]}
    assert set(codes) <= {"auth_failed", "credential_suspended"} and codes["auth_failed"] <= LOCKOUT_HOSTS

    # The suspension holds for the next discovery; another credential opens everything.
    before = failed_logins(fleet)
    found = Discoveries(api).run(subnet, credential_ids=[wrong, right])
    assert found["found"] == 300 and failed_logins(fleet) == before
    assert {device["credential_id"] for device in found["devices"]} == {right}


def connects():
    """TCP connections that this machine has begun to make since it started."""
    names, values = [line.split() for line in open("/proc/net/snmp") if line.startswith("Tcp:")]
    return int(values[names.index("ActiveOpens")])


def test_cancelling_stops_within_a_second(start):
    fleet = start.winsim(10, "--base-address", "127.120.255.200", static=True)
    # 500 connects a second to four ports of 65,534 addresses: more than eight minutes.
    rate = 500
    server = start.server("--discovery.rate", rate)
    api = server.api()
    discoveries = Discoveries(api)
    number = discoveries.start("127.120.0.0/16")
    wait_until(lambda: discoveries.show(number)["scanned"] > 50, 20, "under way")
    assert discoveries.show(number)["rate"] is not None
    before = connects()
    time.sleep(1)
    assert connects() - before > rate / 4, "the machine's own count shows no sweep"

    # Overlapping ones have to wait, and hear for what.
    error = api.call("POST", "/devices/discover", {"subnet": "127.120.7.0/24"}, status=409)
    assert error["details"] == {"field": "discovery_id", "value": number}

    cancelled = api.call("DELETE", f"/discoveries/{number}")
    assert cancelled["status"] == "cancelled"
    time.sleep(1)
    stopped, before = discoveries.show(number), connects()
    time.sleep(2.5)
    # Some connections are made by whatever else runs here.
    assert connects() - before < rate / 4, "it still dials"
    shown = discoveries.show(number)
    assert shown["status"] == "cancelled" and shown["scanned"] == stopped["scanned"] < shown["total"]
    assert shown["rate"] is None
    assert api.call("DELETE", f"/discoveries/{number}")["status"] == "cancelled"
    assert fleet.hosts == 10

    # The instance is free for the next one, and that one is over by itself.
    short = discoveries.run(f"{fleet.base}/32")
    assert short["status"] == "completed"
    assert api.call("DELETE", f"/discoveries/{short['discovery_id']}", status=409)["code"] == "CONFLICT"


def test_kill_nine_in_the_middle_loses_and_doubles_nothing(start):
    fleet = start.winsim(200, static=True)
    # 254 addresses at four ports: some five seconds.
    server = start.server("--discovery.rate", "200")
    api = server.api()
    discoveries = Discoveries(api)
    number = discoveries.start(network(fleet), credential_ids=[api.credential()])
    before = wait_until(
        lambda: (shown := discoveries.show(number))["scanned"] >= 60 and shown, 30, "under way", interval=0.05
    )
    assert before["status"] == "running"
    server.child.kill()

    server.start()
    api = server.api()
    discoveries = Discoveries(api)
    seen = [before]

    def finished():
        seen.append(discoveries.show(number))
        return seen[-1]["status"] not in ("queued", "running")

    wait_until(finished, 60, "finished after the restart", interval=0.1)
    for name in ("scanned", "found", "new_devices"):
        values = [shown[name] for shown in seen]
        assert values == sorted(values), f"{name} went back: {values}"
    last = discoveries.wait(number)
    assert last["status"] == "completed" and last["scanned"] == last["total"] == 254
    assert last["found"] == last["new_devices"] == 200
    assert set(devices(api)) == set(fleet.addresses)
    created = api.call("GET", "/audit", params={"action": "device.created", "limit": 1})
    assert created["total"] == 200
    assert failed_logins(fleet) == 0


def test_roles(start):
    server = start.server()
    api = server.api()
    for name, role in (("watcher", "viewer"), ("worker", "operator")):
        done = subprocess.run(
            server.command("user", "add", name, "--role", role),
            input="Pa55-acceptance-role\n", text=True, capture_output=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    viewer, worker = (server.api(name, "Pa55-acceptance-role") for name in ("watcher", "worker"))
    assert viewer.call("POST", "/devices/discover", {"subnet": "127.0.0.2"}, status=403)["code"] == "FORBIDDEN"
    number = Discoveries(worker).start("127.0.0.2")
    assert Discoveries(viewer).wait(number)["status"] == "completed"
    assert viewer.call("DELETE", f"/discoveries/{number}", status=403)
    assert Discoveries(viewer).show(number)["requested_by"] == "worker"
    assert api.call("GET", "/audit", params={"action": "discovery.started"})["total"] == 1


@pytest.fixture
def password_file(folder):
    file = folder / "password"
    file.write_text(ADMIN_PASSWORD + "\n")
    return file


def test_the_command_line(start, password_file):
    fleet = start.winsim(8, static=True)
    server = start.server()
    api = server.api()
    api.credential("Fleet")
    local = ["--data_dir", server.data, "--server.port", server.port, "--password-file", password_file]
    remote = ["--server", server.url, "--password-file", password_file]

    def discover(*arguments, **options):
        return subprocess.run(
            [BIN / "nmslite", "discover", *map(str, arguments)],
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **options,
        )  # fmt: skip

    # On the server's own machine nothing has to be said about trust; lines, not bars, into a pipe.
    done = discover(network(fleet), "--credential", "fleet", *local)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["ADDRESS", "NAME", "OS", "DEVICE", "STATUS", "CREDENTIAL"]
    assert [line.split()[0] for line in lines[1:9]] == fleet.addresses
    assert "8 Windows machines, 8 of them new" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr and "\r" not in done.stderr
    assert ADMIN_PASSWORD not in done.stdout + done.stderr

    done = discover(network(fleet), "--json", "--ca-file", server.certificate, *remote)
    document = json.loads(done.stdout)
    assert done.returncode == 0 and len(document["devices"]) == 8 == document["found"]

    digest = next(json.loads(line)["sha256"] for line in server.log_lines() if '"sha256"' in line)
    assert discover(fleet.address(0), "--fingerprint", f"sha256:{digest}", *remote).returncode == 0

    # The wrong server never hears the password.
    other = "sha256:" + "00" * 32
    before = api.call("GET", "/audit", params={"action": "session.login"})["total"]
    for trust in (["--fingerprint", other], ["--ca-file", fleet.ca_file], []):
        done = discover(network(fleet), *trust, "--server", f"https://127.0.0.2:{server.port}", *remote[2:])
        assert done.returncode == 76, (trust, done.stderr)
        assert "certificate" in done.stderr and done.stdout == ""
    assert api.call("GET", "/audit", params={"action": "session.login"})["total"] == before

    assert discover("banana", *local).returncode == 1
    assert "banana" in discover("banana", *local).stderr
    assert discover(network(fleet), "--credential", "nobody", *local).returncode == 1
    assert discover(network(fleet), "--server", "http://192.0.2.1", *remote[2:]).returncode == 64
    assert discover(network(fleet), "--server", "https://127.0.0.1:1", *remote[2:]).returncode == 69
    wrong = password_file.with_name("wrong")
    wrong.write_text(WRONG_PASSWORD + "\n")
    done = discover(network(fleet), *local[:-1], wrong)
    assert done.returncode == 77 and WRONG_PASSWORD not in done.stdout + done.stderr


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_sees_a_bar(start, password_file, no_color):
    server = start.server("--discovery.rate", "400")
    terminal, ours = pty.openpty()
    done = subprocess.Popen(
        [BIN / "nmslite", "discover", "127.0.9.0/24", "--data_dir", server.data, "--server.port", str(server.port),
         "--password-file", password_file],
        stdin=subprocess.DEVNULL, stdout=ours, stderr=ours, env={**os.environ, "TERM": "xterm", "NO_COLOR": no_color},
    )  # fmt: skip
    os.close(ours)
    seen = b""
    try:
        while chunk := os.read(terminal, 65536):
            seen += chunk
    except OSError:
        pass  # The other end is closed.
    finally:
        os.close(terminal)
    assert done.wait(20) == 0, seen
    text = seen.decode()
    assert re.search(r"\r\x1b\[K\[#*-+\] \d+% \d+/254, 0 found", text), text
    assert "completed: 254 of 254 addresses, 0 Windows machines" in text
    assert "\x1b[1m" not in text


def test_control_c_cancels_on_the_server(start, password_file):
    server = start.server("--discovery.rate", "100")
    api = server.api()
    process = subprocess.Popen(
        [BIN / "nmslite", "discover", "127.121.0.0/16", "--data_dir", server.data, "--server.port", str(server.port),
         "--password-file", password_file],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        wait_until(
            lambda: any(entry["status"] == "running" for entry in api.call("GET", "/discoveries")["discoveries"]),
            20,
            "running",
        )
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "cancelled" in errors and "cancelled" in output
    assert api.call("GET", "/discoveries")["discoveries"][0]["status"] == "cancelled"


def test_three_hundred_hosts_of_mixed_kinds_over_a_slash_20(start):
    base = "127.122.16.1"
    hosts, step = 300, 13
    fleet = start.winsim(hosts, "--base-address", base, "--address-step", step, "--smb-port", 445, dcom=True, static=True)
    first = (127 << 24) + (122 << 16) + (16 << 8) + 1

    def address(index):
        value = first + index * step
        return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))

    kinds = {
        "winrm only": ("ports_closed", {"ports": "dcom"}),
        "wmi only": ("ports_closed", {"ports": "winrm,winrms"}),
        "both": (None, {}),
        "https only": ("ports_closed", {"ports": "winrm,dcom"}),
        "wrong credential": ("wrong_password", {}),
        "silent port": ("ports_silent", {"ports": "winrm"}),
        "web server": ("not_windows_http", {}),
        "ssh": ("ssh_banner", {}),
        "tar pit": ("tar_pit", {}),
        "other management": ("other_wsman", {}),
    }
    names = list(kinds)
    kind = {address(index): names[index % len(names)] for index in range(hosts)}
    fleet.set_faults(
        [
            {"hosts": ",".join(ip for ip, own in kind.items() if own == name), "fault": fault, **parameters}
            for name, (fault, parameters) in kinds.items()
            if fault
        ]
    )
    windows = {ip for ip, own in kind.items() if names.index(own) < 6}

    server = start.server()
    api = server.api()
    samples = []
    stop = threading.Event()
    discoveries = Discoveries(api)
    winrm = api.credential("winrm")
    https = api.credential("https", use_ssl=True, tls_verify="none")
    wmi = api.credential("wmi", credential_type="wmi")
    number = discoveries.start("127.122.16.0/20", credential_ids=[winrm, https, wmi], auto_provision=False)

    def watch():
        watcher = Discoveries(server.api())
        while not stop.wait(0.1):
            samples.append(watcher.show(number, limit=1)["scanned"])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        found = discoveries.wait(number, timeout=90)
    finally:
        stop.set()
        thread.join()
    assert found["status"] == "completed" and found["scanned"] == found["total"] == 4094
    assert samples == sorted(samples)
    assert {device["ip"] for device in found["devices"]} == windows == set(devices(api))
    assert found["counts"]["unidentified"] == 30
    assert found["counts"]["not_windows"] == 90
    for device in found["devices"]:
        truth = fleet.state(device["ip"])
        own = kind[device["ip"]]
        assert device["hostname"].split(".")[0].lower() == truth["hostname"].split(".")[0].lower(), own
        assert device["build"] == str(truth["build"]) and device["evidence"]["reasons"], own
        if own == "wrong credential":
            assert device["credential_id"] is None
