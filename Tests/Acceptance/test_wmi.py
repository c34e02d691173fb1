"""The `wmi` credential type: hosts without WinRM, read over DCOM from Linux."""

import json
import time

import pytest
import requests

from processes import HOST_PASSWORD, WRONG_PASSWORD, wait_until
from test_first_steps import ADDITIONS, METRICS_SHAPE, assert_equals_truth, assert_shape, first_row

WMI = {"credential_type": "wmi", "password": HOST_PASSWORD}
#: A legacy server: nothing listens on WinRM's ports.
NO_WINRM = ("--winrm-port", 0, "--winrms-port", 0)


def wmi_credential(api, fleet, name="wmi", password=HOST_PASSWORD):
    return api.credential(name, password, credential_type="wmi", port=fleet.epm_port)


def references(fleet, kind):
    hosts = requests.get(f"{fleet.truth}/hosts", timeout=10).json()["hosts"]
    name = "excess_releases" if kind == "excess" else f"{kind}_references"
    return sum(host[name] for host in hosts)


def test_from_nothing_to_the_first_row(start):
    fleet = start.winsim(1, *NO_WINRM, static=True, dcom=True)
    server = start.server()
    curl, identifier, metrics = first_row(server, fleet, {**WMI, "port": fleet.epm_port})
    assert_shape(metrics, {**METRICS_SHAPE, **ADDITIONS})
    assert_equals_truth(fleet, metrics)
    _, device = curl("GET", f"/devices/{identifier}")
    truth = fleet.state(fleet.address(0))
    assert device["data"]["status"] == "monitoring" and device["data"]["last_error"] is None
    assert device["data"]["os"] == truth["os"] and device["data"]["hostname"] == truth["hostname"]


def test_the_same_values_as_over_winrm(start):
    """Every kind of host that the fleet has, the ones that inherit defaults of their classes among them."""
    fleet = start.winsim(16, static=True, dcom=True)
    server = start.server()
    api = server.api()
    winrm, wmi = api.credential("winrm"), wmi_credential(api, fleet)
    devices = {api.add(address, winrm, interval=5): address for address in fleet.addresses}
    over_winrm = {device: api.metrics(device, timeout=25) for device in devices}
    switched = time.time()
    for device in devices:
        api.provision(device, wmi, polling_interval=5)
    time.sleep(6)
    for device, address in devices.items():
        shown = api.wait_for(device, lambda d: d["last_error"] is None and d["status"] == "monitoring", 20, "monitoring")
        assert shown["credential_ids"] == [wmi]
        one, other = over_winrm[device], api.metrics(device)
        assert other["timestamp"] > one["timestamp"]
        for group in ("memory", "disk"):
            assert other[group] == one[group], address
        assert other["process_count"] == one["process_count"]
        assert other["cpu"]["usage_percent"] == pytest.approx(one["cpu"]["usage_percent"], rel=0.01)
        for name in ("bytes_sent_per_sec", "bytes_recv_per_sec", "utilization_percent"):
            assert other["network"][name] == pytest.approx(one["network"][name], rel=0.01), name
        # The rows of WMI were really read over DCOM.
        assert fleet.state(address)["held_references"] > 0
    print(f"switched over within {time.time() - switched:.1f} s")


def test_fallback_from_winrm_to_wmi_is_remembered(start):
    legacy = start.winsim(2, *NO_WINRM, dcom=True)
    modern = start.winsim(2)
    server = start.server()
    api = server.api()
    winrm, wmi = api.credential("winrm"), wmi_credential(api, legacy)
    devices = {}
    for fleet, order in ((legacy, [winrm, wmi]), (modern, [wmi, winrm])):
        for address in fleet.addresses:
            device = api.device(address)
            api.call(
                "POST", f"/devices/{device}/provision", {"credential_ids": order, "polling_interval": 5}
            )
            devices[device] = address
    for device in devices:
        row = api.metrics(device)
        assert row["cpu"]["usage_percent"] is not None
        shown = api.wait_for(device, lambda d: d["status"] == "monitoring", 10, "monitoring")
        assert shown["last_error"] is None

    def knocks():
        lines = [json.loads(line) for line in server.log_lines() if "credential did not work" in line]
        assert {line["code"] for line in lines} <= {"connection_refused"}, lines
        return sorted(int(line["device_id"]) for line in lines)

    # What worked is tried first from now on: once a success is stored, nobody knocks on the door that was closed.
    time.sleep(2)
    first, rows = knocks(), {d: len(api.rows(d)) for d in devices}
    assert set(first) == set(devices)
    wait_until(lambda: all(len(api.rows(d)) >= rows[d] + 3 for d in devices), 30, "three more rows of each")
    assert knocks() == first
    for fleet in (legacy, modern):
        for address in fleet.addresses:
            assert fleet.state(address)["failed_logins"] == 0


def test_a_wrong_password_is_one_failed_login(start):
    fleet = start.winsim(1, *NO_WINRM, dcom=True)
    server = start.server()
    api = server.api()
    wrong = wmi_credential(api, fleet, "wrong", WRONG_PASSWORD)
    device = api.add(fleet.address(0), wrong, interval=5)
    shown = api.wait_for(device, lambda d: d["last_error"], 15, "an error")
    assert shown["last_error"]["code"] == "auth_failed"
    assert f"WMI over DCOM port {fleet.epm_port}" in shown["last_error"]["message"]
    # Two polls suspend it, and each has cost one failed login, not one for each connection.
    api.wait_for(device, lambda d: d["last_error"]["code"] == "credential_suspended", 20, "the suspension")
    time.sleep(6)
    assert fleet.state(fleet.address(0))["failed_logins"] == 2
    assert api.show(device)["status"] == "provisioned"
    api.call("PUT", f"/credentials/{wrong}", {"password": HOST_PASSWORD})
    api.wait_for(device, lambda d: d["status"] == "monitoring" and d["last_error"] is None, 15, "the right one works")
    assert fleet.state(fleet.address(0))["failed_logins"] == 2


def test_nothing_stays_behind_at_the_hosts(start):
    """More than 1,000 polls, cold ones and cut ones among them; then a shutdown."""
    fleet = start.winsim(100, *NO_WINRM, dcom=True)
    server = start.server()
    api = server.api()
    wmi = wmi_credential(api, fleet)
    devices = [api.add(address, wmi, interval=5) for address in fleet.addresses]
    wait_until(lambda: all(api.rows(d) for d in devices[::10]), 30, "rows")
    time.sleep(20)
    # Every session ends in the middle of what it does: a changed credential drops them all.
    before = sum(fleet.state(address)["authentications"] for address in fleet.addresses)
    api.call("PUT", f"/credentials/{wmi}", {"name": "another name", "password": HOST_PASSWORD})
    time.sleep(12)
    after = sum(fleet.state(address)["authentications"] for address in fleet.addresses)
    assert after >= before + 2 * 100, "a changed credential ends the sessions"
    # Hosts that fail in the middle of an enumeration, and sign-ins that are refused, leave nothing either.
    fleet.set_faults(
        [
            {"hosts": f"{fleet.address(0)}-{fleet.address(19)}", "fault": "enumeration_error"},
            {"hosts": f"{fleet.address(20)}-{fleet.address(29)}", "fault": "namespace_denied"},
        ]
    )
    time.sleep(10)
    fleet.set_faults([])
    wait_until(lambda: sum(len(api.rows(d)) for d in devices) >= 1000, 40, "1,000 rows", interval=1)
    for device in devices:
        api.wait_for(device, lambda d: d["status"] == "monitoring", 20, "monitoring")
    assert references(fleet, "leaked") == 0
    assert references(fleet, "excess") == 0
    # A session holds its login and its namespace, at five references each, and in the middle of a poll enumerators.
    held = references(fleet, "held")
    assert 0 < held <= len(devices) * 5 * (2 + 4)
    assert server.stop() == 0
    wait_until(lambda: references(fleet, "held") == 0, 5, "every reference is given back")
    assert references(fleet, "leaked") == 0
    print(f"{held} references held by 100 warm sessions, none after the end")
