"""POST /devices/{id}/test: which stage fails with what, what is advised, and what is left at the host."""

from concurrent.futures import ThreadPoolExecutor

import requests

from processes import WRONG_PASSWORD, wait_until

#: Fault, credential, the stage that fails, its code, and a word of the remedy; None where every stage passes.
FAULTS = [
    (None, "ntlm", None, None, ""),
    (None, "tls", None, None, ""),
    (None, "basic", None, None, ""),
    (None, "wmi", None, None, ""),
    ({"fault": "refused"}, "ntlm", "tcp", "connection_refused", "winrm quickconfig"),
    ({"fault": "stalled_connection"}, "ntlm", "identify", "timeout", "does not answer"),
    ({"fault": "tls_expired_certificate"}, "tls", "tls", "tls_failed", "Renew the certificate"),
    ({"fault": "tls_wrong_name"}, "tls", "tls", "tls_failed", "the device is known as"),
    ({"fault": "tls_untrusted"}, "tls", "tls", "tls_failed", "winrm.ca_file"),
    ({"fault": "basic_only"}, "ntlm", "authenticate", "protocol_error", "Negotiate"),
    ({"fault": "access_denied"}, "ntlm", "namespace", "access_denied", "Remote Management Users"),
    ({"fault": "missing_class"}, "ntlm", "class", "counters_missing", "lodctr /R"),
    ({"fault": "provider_failure"}, "wmi", "class", "wmi_error", "winmgmt /verifyrepository"),
    ({"fault": "activation_denied"}, "wmi", "authenticate", "access_denied", "Distributed COM Users"),
    ({"fault": "dynamic_port_closed"}, "wmi", "exporter", "connection_refused", "49152-65535"),
    ({"fault": "namespace_denied"}, "wmi", "namespace", "access_denied", "Remote Enable"),
    ({"fault": "hostname_bindings"}, "wmi", None, None, ""),
]
#: The server tests so many at once.
AT_ONCE = 4
STAGE_FIELDS = {"stage", "target", "result", "duration_ms", "detail", "cause", "remedy"}


def credentials(api, fleet):
    return {
        "ntlm": api.credential("ntlm"),
        "tls": api.credential("tls", use_ssl=True),
        "basic": api.credential("basic", credential_type="winrm_basic", use_ssl=True),
        "wmi": api.credential("wmi", credential_type="wmi", port=fleet.epm_port),
    }


def failed(report):
    return next((stage for stage in report["stages"] if stage["result"] == "failed"), None)


def closed(fleet, address):
    """What the host has seen, once nobody is connected any more."""

    def look():
        state = fleet.state(address)
        return state if state["open_connections"] == 0 else None

    return wait_until(look, 20, f"{address} let go of")


def test_every_stage(start):
    faults = [{"hosts": f"@{n}", **fault} for n, (fault, *_) in enumerate(FAULTS) if fault]
    fleet = start.winsim(len(FAULTS), "--basic", dcom=True)
    for fault in faults:
        fault["hosts"] = fleet.address(int(fault["hosts"][1:]))
    fleet.set_faults(faults)
    server = start.server("--winrm.ca_file", fleet.ca_file)
    api = server.api()
    ids = credentials(api, fleet)
    devices = [api.device(fleet.address(n)) for n in range(len(FAULTS))]

    def test(n):
        return api.call("POST", f"/devices/{devices[n]}/test", {"credential_id": ids[FAULTS[n][1]]})

    with ThreadPoolExecutor(AT_ONCE) as pool:
        reports = list(pool.map(test, range(len(FAULTS))))
    for n, (fault, name, stage, code, advice) in enumerate(FAULTS):
        report = reports[n]
        what = f"{name} {fault}: {report}"
        assert report["duration_ms"] < 10_000, what
        assert report["address"] == fleet.address(n) and report["credential_id"] == ids[name], what
        assert all(set(entry) == STAGE_FIELDS for entry in report["stages"]), what
        assert report["ok"] is (stage is None), what
        found = failed(report)
        if stage is None:
            assert found is None and all(entry["result"] == "passed" for entry in report["stages"]), what
        else:
            assert (found["stage"], found["cause"]["code"]) == (stage, code), what
            assert advice in found["remedy"], what
            if stage != "class":
                rest = report["stages"][report["stages"].index(found) + 1 :]
                assert rest and all(entry["result"] == "skipped" for entry in rest), what
        if stage == "tls":
            assert len(found["detail"]["certificate_sha256"]) == 64, what
        state = closed(fleet, fleet.address(n))
        assert state["failed_logins"] == 0, what
        # Behind a firewall nothing can be given back.
        if stage != "exporter":
            assert state["held_references"] == 0 and state["leaked_references"] == 0, what
    # Nothing of a test is kept: devices are as they were made.
    assert all(api.show(device)["last_error"] is None for device in devices)
    audit = api.call("GET", "/audit", params={"action": "device.tested", "limit": 100})
    assert audit["total"] == len(FAULTS)
    # A connection that is kept would keep the server from ending at once.
    api.session.close()


def test_beside_polls_and_within_limits(start):
    fleet = start.winsim(3, dcom=True)
    server = start.server("--targets.allow", "127.0.0.0/8")
    api = server.api()
    good = api.credential("good")
    bad = api.credential("bad", password=WRONG_PASSWORD)
    elsewhere = api.credential("elsewhere", allowed_targets=["198.51.100.0/24"])
    polled = api.add(fleet.address(0), good, interval=5)
    api.wait_for(polled, lambda d: d["status"] == "monitoring", 20, "monitoring")
    signed_in = fleet.state(fleet.address(0))["authentications"]

    # Without a body the device's own credential; polls keep their connection.
    assert api.call("POST", f"/devices/{polled}/test")["ok"] is True
    assert api.call("POST", f"/devices/{polled}/test", {})["credential_id"] == good
    seen = fleet.state(fleet.address(0))["queries"]["win32_logicaldisk"]
    wait_until(lambda: fleet.state(fleet.address(0))["queries"]["win32_logicaldisk"] > seen, 15, "another poll")
    assert fleet.state(fleet.address(0))["authentications"] == signed_in + 2
    assert api.show(polled)["status"] == "monitoring"

    # One failed login each, then none: the guard is the polls'.
    device = api.device(fleet.address(1))
    codes = []
    for _ in range(3):
        report = api.call("POST", f"/devices/{device}/test", {"credential_id": bad})
        found = failed(report)
        assert found["stage"] == "authenticate"
        codes.append(found["cause"]["code"])
    assert codes == ["auth_failed", "auth_failed", "credential_suspended"]
    assert f"/credentials/{bad}/resume" in found["remedy"]
    assert fleet.state(fleet.address(1))["failed_logins"] == 2
    api.call("POST", f"/credentials/{bad}/resume")
    report = api.call("POST", f"/devices/{device}/test", {"credential_id": bad})
    assert failed(report)["cause"]["code"] == "auth_failed"

    # What may not be tested.
    assert api.call("POST", f"/devices/{device}/test", status=409)["code"] == "CONFLICT"
    refused = api.call("POST", f"/devices/{device}/test", {"credential_id": elsewhere}, status=403)
    assert refused["code"] == "TARGET_NOT_ALLOWED"
    assert api.call("POST", f"/devices/{device}/test", {"credential_id": 9999}, status=404)["code"] == "NOT_FOUND"

    # A client that hangs up ends its test, over TLS as well.
    address = fleet.address(2)
    fleet.set_faults([{"hosts": address, "fault": "stalled_connection"}])
    device = api.device(address)
    impatient = requests.Session()
    impatient.trust_env = False
    impatient.verify = server.certificate
    impatient.headers.update(api.session.headers)
    try:
        url = f"{server.url}/api/v1/devices/{device}/test"
        impatient.post(url, json={"credential_id": good}, timeout=(20, 0.5))
        raise AssertionError("the test of a stalled host was over at once")
    except requests.Timeout:
        impatient.close()
    closed(fleet, address)

    def cancelled():
        entries = api.call("GET", "/audit", params={"action": "device.tested", "limit": 1})["entries"]
        return entries and "cancelled" in str(entries[0]["changes"])

    # One that went on would have ended as a time-out.
    wait_until(cancelled, 20, "the audit of the cancelled test")
    api.session.close()
