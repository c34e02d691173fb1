"""Every fault of the simulator: its documented code, no harm to others, and recovery at the next poll."""

import re
import time

import pytest

from test_fleet import parse
from processes import HOST_PASSWORD, ROOT, WRONG_PASSWORD, wait_until

INTERVAL = 5

#: How each fault is set, over which transport, and the code it must cause (None: none). `docs/simulator.md` has the
#: same table for people; test_the_table_is_complete holds the two together.
WINRM_FAULTS = {
    "stalled_connection": ({}, "ntlm", "timeout"),
    "slow_query": ({"delay": "20s"}, "ntlm", None),
    "refused": ({}, "ntlm", "connection_refused"),
    "drop_mid_answer": ({}, "ntlm", "connection_reset"),
    "tls_expired_certificate": ({}, "tls", "tls_failed"),
    "tls_wrong_name": ({}, "tls", "tls_failed"),
    "tls_untrusted": ({}, "tls", "tls_failed"),
    "wrong_password": ({}, "own", "credential_suspended"),
    "unauthorized_after": ({"requests": 5}, "ntlm", None),
    "access_denied": ({}, "ntlm", "access_denied"),
    "plain_refused": ({"status": 500}, "basic", "encryption_required"),
    "basic_only": ({}, "ntlm", "protocol_error"),
    "quota": ({}, "ntlm", "quota_exceeded"),
    "provider_failure": ({}, "ntlm", "wmi_error"),
    "missing_class": ({}, "ntlm", "counters_missing"),
    "oversized_answer": ({}, "ntlm", "response_too_large"),
    "garbage": ({}, "ntlm", "protocol_error"),
    "wrong_clock": ({"offset": "1h"}, "ntlm", None),
    "counter_reset": ({}, "ntlm", None),
    "reboot": ({"down": "0s"}, "ntlm", None),
    "counters_32bit": ({}, "ntlm", None),
}
#: The same over DCOM, where they mean something there, and those that only DCOM has.
DCOM_FAULTS = {
    "stalled_connection": ({}, "wmi", "timeout"),
    "slow_query": ({"delay": "20s"}, "wmi", None),
    "refused": ({}, "wmi", "connection_refused"),
    "drop_mid_answer": ({}, "wmi", "connection_reset"),
    "wrong_password": ({}, "own", "credential_suspended"),
    "access_denied": ({}, "wmi", "access_denied"),
    "quota": ({}, "wmi", "quota_exceeded"),
    "provider_failure": ({}, "wmi", "wmi_error"),
    "missing_class": ({}, "wmi", "counters_missing"),
    "oversized_answer": ({}, "wmi", "response_too_large"),
    "garbage": ({}, "wmi", "protocol_error"),
    "wrong_clock": ({"offset": "1h"}, "wmi", None),
    "counter_reset": ({}, "wmi", None),
    "reboot": ({"down": "0s"}, "wmi", None),
    "counters_32bit": ({}, "wmi", None),
    "dcom_privacy_required": ({}, "wmi", None),
    "activation_denied": ({}, "wmi", "access_denied"),
    "hostname_bindings": ({}, "wmi", None),
    "foreign_bindings": ({}, "wmi", None),
    "dynamic_port_closed": ({}, "wmi", "connection_refused"),
    "dynamic_port_closed silently": ({"fault": "dynamic_port_closed", "silently": True}, "wmi", "timeout"),
    "small_fragments": ({}, "wmi", None),
    "split_answers": ({}, "wmi", None),
    "namespace_denied": ({}, "wmi", "access_denied"),
    "enumeration_error": ({}, "wmi", "wmi_error"),
    "smart_enumerator_refused": ({}, "wmi", None),
    "bad_signature": ({}, "wmi", "protocol_error"),
    "objects_reclaimed": ({"age": "2s"}, "wmi", None),
    "single_rows": ({}, "wmi", None),
    "timed_out_first": ({}, "wmi", None),
    "pings_denied": ({}, "wmi", None),
    "single_interface": ({}, "wmi", None),
}
#: Faults that cut no poll off but make a difference unusable: null once, then values again.
GAPS = {"counter_reset", "reboot", "wrong_clock"}
#: TLS, sign-in and activation faults show on a new connection only.
NEEDS_RECONNECT = {
    "tls_expired_certificate", "tls_wrong_name", "tls_untrusted", "wrong_password", "basic_only",
    "dcom_privacy_required", "activation_denied", "hostname_bindings", "foreign_bindings", "dynamic_port_closed",
    "dynamic_port_closed silently",
    "small_fragments", "namespace_denied", "pings_denied", "single_interface",
}  # fmt: skip
HEALTHY = 10


def test_the_table_is_complete():
    text = (ROOT / "docs" / "simulator.md").read_text()
    documented = set(re.findall(r"^\| `([a-z_0-9]+)` \|.*\|.*\|.*\|.*\|$", text, re.MULTILINE))
    used = {fields.get("fault", name) for name, (fields, _, _) in [*WINRM_FAULTS.items(), *DCOM_FAULTS.items()]}
    assert documented == used


@pytest.mark.parametrize("faults", [WINRM_FAULTS, DCOM_FAULTS], ids=["winrm", "dcom"])
def test_every_fault(start, faults):
    names = list(faults)
    stays_monitoring = {"missing_class"} | {name for name, (_, _, code) in faults.items() if code is None}
    everyone = "wmi" if faults is DCOM_FAULTS else "ntlm"
    fleet = start.winsim(len(names) + HEALTHY, "--basic", "--allow-unencrypted", dcom=everyone == "wmi")
    server = start.server("--winrm.ca_file", fleet.ca_file)
    api = server.api()
    shared = {
        "ntlm": api.credential("ntlm"),
        "tls": api.credential("tls", use_ssl=True),
        "basic": api.credential("basic", credential_type="winrm_basic", allow_unencrypted_basic=True),
        "own": api.credential("own"),
    }
    if everyone == "wmi":
        for name in ("wmi", "own"):
            way = {"name": f"{name} over DCOM", "credential_type": "wmi", "port": fleet.epm_port}
            shared[name] = api.credential(**way)
    devices = {}
    for index, name in enumerate(names):
        devices[name] = api.add(fleet.address(index), shared[faults[name][1]], interval=INTERVAL)
    healthy = [api.add(fleet.address(len(names) + n), shared[everyone], interval=INTERVAL) for n in range(HEALTHY)]
    for device in [*devices.values(), *healthy]:
        api.wait_for(device, lambda d: d["status"] == "monitoring", 40, "monitoring before the faults")

    began = time.time()
    fleet.set_faults(
        [{"hosts": fleet.address(index), "fault": name, **faults[name][0]} for index, name in enumerate(names)]
        # A kept connection would not notice: it is cut, and the host must be signed in to anew.
        + [{"hosts": fleet.address(names.index(name)), "fault": "reboot"} for name in NEEDS_RECONNECT & set(names)]
    )

    for name, (_, _, code) in faults.items():
        if code is not None:
            shown = api.wait_for(
                devices[name],
                lambda d, code=code: d["last_error"] and d["last_error"]["code"] == code,
                100,
                f"{name} causes {code}",
            )
            assert HOST_PASSWORD not in shown["last_error"]["message"]
    for name, (_, _, code) in faults.items():
        status = "monitoring" if name in stays_monitoring or name == "wrong_password" else "unreachable"
        timeout = 130 if name == "stalled_connection" else 40
        api.wait_for(devices[name], lambda d, s=status: d["status"] == s, timeout, f"{name}: status {status}")
    # What causes no error has none (a poll in between may just have ended badly only for a reboot).
    for name, (_, _, code) in faults.items():
        if code is None:
            api.wait_for(devices[name], lambda d: d["last_error"] is None, 30, f"{name} causes no error")

    missing = api.metrics(devices["missing_class"])
    assert missing["network"]["bytes_sent_per_sec"] is None and missing["cpu"]["usage_percent"] is not None
    for name in GAPS:
        values = [row["cpu"]["usage_percent"] for row in api.rows(devices[name])]
        assert None in values, f"{name}: no gap in {values}"
        assert values[-1] is not None and values[0] is not None
        rates = [row["network"]["bytes_sent_per_sec"] for row in api.rows(devices[name])]
        known = [rate for rate in rates if rate is not None]
        assert max(known) < 20 * min(known), f"{name}: a spike in {rates}"
    # What causes no error costs no poll either. (A slow host's polls take as long as they take.)
    for name, (_, _, code) in faults.items():
        if code is None and name not in {"slow_query", "reboot", "wrong_clock"}:
            during = [p for p in api.rows(devices[name]) if parse(p["timestamp"]) >= began]
            assert len(during) >= (time.time() - began) / INTERVAL - 3, f"{name}: {len(during)} polls"
    wrapped = [row["network"]["bytes_sent_per_sec"] for row in api.rows(devices["counters_32bit"])]
    assert all(rate is None or 0 <= rate < 10**10 for rate in wrapped)

    # The others did not slow down while all this went on.
    elapsed = time.time() - began
    for device in healthy:
        inside = [p for p in api.rows(device) if parse(p["timestamp"]) >= began]
        shown = [(p["timestamp"], p["job_id"]) for p in inside]
        gaps = [parse(b["timestamp"]) - parse(a["timestamp"]) for a, b in zip(inside, inside[1:])]
        assert len(inside) >= elapsed / INTERVAL - 2, f"{len(inside)} polls in {elapsed:.0f} s: {shown}"
        # No poll left out; a busy machine may begin one late.
        assert max(gaps) < 2 * INTERVAL, f"gaps in {shown}"
        assert api.show(device)["last_error"] is None

    # After the faults: monitoring at the next poll; a suspended credential only after `resume`.
    fleet.set_faults([])
    for name, device in devices.items():
        if name == "wrong_password":
            continue
        timeout = 45 if name in ("stalled_connection", "slow_query") else 25
        api.wait_for(device, lambda d: d["status"] == "monitoring" and d["last_error"] is None, timeout, f"{name} is over")
    suspended = api.show(devices["wrong_password"])
    assert suspended["last_error"]["code"] == "credential_suspended" and suspended["status"] == "monitoring"
    failed = fleet.state(fleet.address(names.index("wrong_password")))["failed_logins"]
    assert failed == 2
    api.call("POST", f"/credentials/{shared['own']}/resume")
    api.wait_for(
        devices["wrong_password"],
        lambda d: d["status"] == "monitoring" and d["last_error"] is None,
        40,
        "the credential works again after resume",
    )


def test_one_wrong_password_on_fifty_devices(start):
    fleet = start.winsim(50)
    server = start.server()
    api = server.api()
    wrong = api.credential("wrong", WRONG_PASSWORD)
    devices = [api.add(address, wrong, interval=5) for address in fleet.addresses]
    wait_until(
        lambda: api.call("GET", f"/credentials/{wrong}")["status"] == "suspended", 30, "the credential is suspended"
    )
    time.sleep(12)  # two more rounds of polls

    def failures():
        return sum(fleet.state(address)["failed_logins"] for address in fleet.addresses)

    # Three distinct hosts suspend a credential; no host sees more than two.
    assert failures() == 3
    codes = {api.show(device)["last_error"]["code"] for device in devices}
    assert codes <= {"auth_failed", "credential_suspended"} and "credential_suspended" in codes
    assert all(api.show(device)["status"] == "provisioned" for device in devices)

    # A restart does not forget.
    server.stop()
    server.start()
    api = server.api()
    time.sleep(8)
    assert failures() == 3

    # A corrected password ends it at once.
    api.call("PUT", f"/credentials/{wrong}", {"password": HOST_PASSWORD})
    for device in devices:
        api.wait_for(device, lambda d: d["status"] == "monitoring", 30, "monitoring after the correction")
    assert failures() == 3
    assert api.call("GET", f"/credentials/{wrong}")["status"] == "active"


def test_a_changed_credential_takes_effect_at_once(start):
    """The cached secret and the warm connections end with the change, not with their TTLs of five minutes."""
    fleet = start.winsim(1)
    server = start.server()
    api = server.api()
    credential = api.credential()
    device = api.add(fleet.address(0), credential, interval=5)
    api.metrics(device)
    api.call("PUT", f"/credentials/{credential}", {"password": WRONG_PASSWORD})
    shown = api.wait_for(device, lambda d: d["last_error"], 40, "the changed password is used")
    assert shown["last_error"]["code"] in ("auth_failed", "credential_suspended")
    api.call("PUT", f"/credentials/{credential}", {"password": HOST_PASSWORD})
    api.wait_for(device, lambda d: d["last_error"] is None and d["status"] == "monitoring", 40, "the right one is used")


def test_deprovisioning_ends_the_polls(start):
    fleet = start.winsim(1)
    server = start.server()
    api = server.api()
    device = api.add(fleet.address(0), api.credential(), interval=5)
    api.metrics(device)
    job = api.call("POST", f"/devices/{device}/poll", status=202)["job_id"]
    wait_until(lambda: any(row["job_id"] == job for row in api.rows(device)), 10, "the manual poll's row")
    api.call("POST", f"/devices/{device}/deprovision")
    shown = api.show(device)
    assert shown["status"] == "discovered" and shown["credential_ids"] == []
    time.sleep(1)
    seen = fleet.state(fleet.address(0))["requests"]
    time.sleep(11)
    assert fleet.state(fleet.address(0))["requests"] == seen
    assert api.call("POST", f"/devices/{device}/poll", status=409)["code"] == "CONFLICT"
    api.call("DELETE", f"/devices/{device}")
    api.call("GET", f"/devices/{device}", status=404)


@pytest.mark.parametrize("address", ["127.200.0.1"])
def test_targets_outside_the_allowed_networks_are_refused(start, address):
    server = start.server("--targets.allow", "127.100.0.0/16")
    api = server.api()
    refused = api.call("POST", "/devices", {"ip": address}, status=403)
    assert refused["code"] == "TARGET_NOT_ALLOWED"
