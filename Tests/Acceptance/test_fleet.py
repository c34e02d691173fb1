"""Two hundred hosts at ten seconds for two minutes: exact, spread, and one sign-in each."""

import collections
import datetime
import time

import pytest

from processes import wait_until

HOSTS = 200
INTERVAL = 10
DURATION = 120


def parse(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


#: What each way in costs a host: connections at once, and sign-ins. DCOM signs in to the resolver, which gives the way
#: to WMI, and to WMI; for the first pings a second connection is open.
WAYS_IN = {"winrm_ntlm": (1, 1), "wmi": (2, 2)}


@pytest.mark.parametrize("credential_type", WAYS_IN)
def test_two_hundred_hosts_for_two_minutes(start, credential_type):
    fleet = start.winsim(HOSTS, dcom=credential_type == "wmi")
    server = start.server()
    api = server.api()
    port = {"port": fleet.epm_port} if credential_type == "wmi" else {}
    credential = api.credential(credential_type=credential_type, **port)
    devices = {api.add(address, credential, interval=INTERVAL): address for address in fleet.addresses}
    provisioned = time.time()

    # At the start no device waits for another's second sample: 200 of them, a second each, on ten workers would
    # take 20 s one after another.
    def first_rows():
        return [d for d in devices if api.request("GET", f"/devices/{d}/metrics").ok]

    wait_until(lambda: len(first_rows()) == HOSTS, 10, "the first row of every device", interval=0.5)

    begin = time.time() + 2
    time.sleep(begin + DURATION - time.time())
    end = begin + DURATION
    time.sleep(3)  # what was under way at the end is stored

    per_second = collections.Counter()
    jobs = set()
    for device, address in devices.items():
        points = api.rows(device)
        own = [p["job_id"] for p in points]
        assert len(own) == len(set(own)), f"device {device} has a job twice"
        assert not jobs & set(own)
        jobs |= set(own)
        times = [parse(p["timestamp"]) for p in points]
        inside = [t for t in times if begin <= t < end]
        # The window holds twelve slots of each device; a row lies a few milliseconds behind its slot, so that one
        # at either edge may fall on the other side.
        assert DURATION // INTERVAL - 1 <= len(inside) <= DURATION // INTERVAL + 1, f"device {device}: {len(inside)}"
        gaps = [b - a for a, b in zip(inside, inside[1:])]
        assert max(gaps) < 1.5 * INTERVAL and min(gaps) > 0.5 * INTERVAL, f"device {device}: {gaps}"
        for t in inside:
            per_second[int(t - begin)] += 1
        for point in points[1:]:
            assert point["cpu"]["usage_percent"] is not None
            assert point["network"]["bytes_sent_per_sec"] is not None

    total = sum(per_second.values())
    assert abs(total - HOSTS * DURATION // INTERVAL) <= HOSTS * 0.05
    share = HOSTS / INTERVAL
    assert max(per_second.values()) <= 3 * share, f"{max(per_second.values())} polls in one second, share {share}"

    connections, authentications = WAYS_IN[credential_type]
    for address in devices.values():
        seen = fleet.state(address)
        assert seen["authentications"] == authentications, f"{address}: {seen}"
        assert seen["failed_logins"] == 0
        assert seen["open_connections"] <= connections, f"{address}: {seen}"
        assert seen["leaked_references"] == 0, f"{address}: {seen}"
        if credential_type != "wmi":  # pings have connections of their own
            assert seen["connections"] == connections, f"{address}: {seen}"
    assert all(api.show(d)["status"] == "monitoring" for d in list(devices)[::20])
    print(
        f"{credential_type}: {total} rows in {DURATION} s, busiest second {max(per_second.values())} (share {share:.0f}), "
        f"provisioning took {begin - provisioned:.1f} s"
    )
