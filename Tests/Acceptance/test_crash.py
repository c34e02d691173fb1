"""kill -9 while two hundred hosts are polled: nothing acknowledged is lost, nothing is left over."""

import json
import time

from processes import children_of, wait_until

HOSTS = 200


def acknowledged_jobs(lines):
    """Jobs whose result the queue had taken and whose job was acknowledged, by the poller's own log."""
    jobs = set()
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("msg") == "polled":
            jobs.add((int(entry["device_id"]), entry["job_id"]))
    return jobs


def test_kill_minus_nine(start):
    fleet = start.winsim(HOSTS)
    server = start.server()
    api = server.api()
    credential = api.credential()
    devices = [api.add(address, credential, interval=5) for address in fleet.addresses]
    wait_until(lambda: len(acknowledged_jobs(server.log_lines())) >= 3 * HOSTS, 60, "three polls of each")

    mine = str(server.data)
    for round in range(2):
        server.child.kill()
        wait_until(lambda: children_of(mine) == [], 20, f"every child gone after kill -9: {children_of(mine)}")
        before = acknowledged_jobs(server.log_lines())
        restarted = time.time()
        server.start()
        api = server.api()
        wait_until(
            lambda: len(acknowledged_jobs(server.log_lines()) - before) >= 2 * HOSTS, 60, "polling goes on"
        )
    time.sleep(3)
    acknowledged = acknowledged_jobs(server.log_lines())
    stored = set()
    for device in devices:
        rows = [row["job_id"] for row in api.rows(device)]
        assert len(rows) == len(set(rows)), f"device {device} has a job twice"
        stored |= {(device, job) for job in rows}
    # What the killed process held comes again after the queue's ack wait of 30 s.
    missing = {entry for entry in acknowledged if entry not in stored}

    def still_missing():
        return {(d, j) for d, j in missing if j not in {row["job_id"] for row in api.rows(d)}}

    wait_until(lambda: not still_missing(), 45, f"every acknowledged result is a row; {len(missing)} were late")
    for device in devices:
        rows = [row["job_id"] for row in api.rows(device)]
        assert len(rows) == len(set(rows)), f"device {device} has a job twice"
    print(f"{len(acknowledged)} acknowledged polls over two kills, {len(stored)} rows, {time.time() - restarted:.0f} s")
    server.stop()
    assert children_of(mine) == []


def test_kill_minus_nine_of_a_guard_and_of_the_servers(start):
    fleet = start.winsim(5)
    server = start.server()
    api = server.api()
    credential = api.credential()
    devices = [api.add(address, credential, interval=5) for address in fleet.addresses]
    for device in devices:
        api.metrics(device)
    import os
    import signal

    nats = str(server.data / "nats")
    postgres = str(server.data / "postgres")
    for pattern in (f"nats-server.*{nats}", f"postgres.*{postgres}", "__guard"):
        victims = [pid for pid in children_of(pattern) if pid in descendants(server.child.process.pid)]
        assert victims, pattern
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        counts = {d: 0 for d in devices}

        def polled():
            try:
                for d in devices:
                    counts[d] = len(api.rows(d))
                return True
            except AssertionError:
                return False

        wait_until(polled, 40, f"the API reads again after kill -9 of {pattern}")
        seen = dict(counts)
        wait_until(lambda: polled() and all(counts[d] > seen[d] + 1 for d in devices), 60, f"polling after {pattern}")


def descendants(pid):
    found = {pid}
    import pathlib

    grown = True
    while grown:
        grown = False
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) not in found:
                try:
                    parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                except (OSError, IndexError):
                    continue
                if parent in found:
                    found.add(int(entry.name))
                    grown = True
    return found
