"""PostgreSQL, NATS and the disk are away for a while: what the API says meanwhile, what is kept, how it recovers.

Kills of the embedded servers are in test_crash.py and test_chaos.py.
"""

import subprocess
import time

import pytest
import requests

from chaos import Ledger
from observing import Database, descendants, descriptors
from processes import BIN, Server, wait_until
from servers import ExternalNATS, ExternalPostgres, external_instance, freeze

HOSTS = 10
INTERVAL = 5
#: Longer than a poll's interval and than the writer's longest pause between tries.
OUTAGE = 20
#: Crash recovery, the longest pauses of every retry, and some polls.
RECOVERY = 60
#: After which an unsettled message comes again, and as much as again for a busy machine.
REDELIVERY = 90


@pytest.fixture
def services(folder):
    """Servers of others, ended last."""
    started = []

    def make(kind, *arguments, **options):
        service = kind(folder, *arguments, **options)
        started.append(service)
        return service

    yield make
    for service in reversed(started):
        service.stop()


@pytest.fixture
def instance(start, folder, services):
    """nmslite on such servers."""
    started = []

    def make(*services, arguments=()):
        server = external_instance(folder, *services, arguments=arguments)
        started.append(server)
        return server.start()

    yield make
    for server in started:
        if server.child.process.poll() is None:
            server.stop()


def health(server):
    """Status code, and what each component says."""
    answer = requests.get(f"{server.url}/health", verify=server.certificate, timeout=20)
    body = answer.json()
    report = body["data"] if answer.ok else body["error"]["details"]
    return answer.status_code, {name: component["status"] for name, component in report["components"].items()}


def wait_for_health(server, status, timeout=RECOVERY, **components):
    def look():
        code, shown = health(server)
        return code == status and all(shown[name] == value for name, value in components.items())

    wait_until(look, timeout, f"/health with {status} {components}; {health(server)}")


def unavailable(api, method, path, body=None):
    error = api.call(method, path, body, status=503)
    assert error["code"] == "SERVICE_UNAVAILABLE", error
    # No internals.
    assert "127.0.0.1" not in error["message"] and "connect" not in error["message"].lower(), error


def polled_after(database, devices, moment):
    """Whether each device has a row that was collected after a moment."""
    try:
        rows = database.rows(f"SELECT DISTINCT device_id FROM metrics WHERE timestamp > to_timestamp({moment})")
    except AssertionError:
        return False
    return {int(row[0]) for row in rows} >= set(devices)


def assert_all_stored(server, database, timeout=REDELIVERY, besides=()):
    """Each acknowledged result becomes a row, exactly once."""
    acknowledged = set(Ledger().read([server])) - set(besides)
    assert acknowledged

    def stored():
        return {job: int(count) for job, count in database.rows("SELECT job_id, count(*) FROM metrics GROUP BY 1")}

    wait_until(lambda: acknowledged <= set(stored()), timeout, "every acknowledged result is a row")
    assert set(stored().values()) == {1}
    return len(acknowledged)


def fill_fleet(start, api, hosts=HOSTS):
    fleet = start.winsim(hosts, "--winrms-port", "0")
    credential = api.credential()
    devices = [api.add(address, credential, interval=INTERVAL) for address in fleet.addresses]
    for device in devices:
        api.metrics(device)
    return fleet, devices


def test_postgres_is_away(start, services, instance):
    postgres = services(ExternalPostgres)
    server = instance(postgres)
    api = server.api()
    fleet, devices = fill_fleet(start, api)
    ledger = Ledger()

    # It hangs first: polls that were due go on, and their results wait in the queue. Then it is gone.
    pids = [postgres.child.process.pid, *(process.pid for process in descendants(postgres.child.process.pid))]
    before = set(ledger.read([server]))
    freeze(pids, 3)
    postgres.stop(fast=False)
    stopped = time.time()
    wait_for_health(server, 503, database="down", queue="up")
    unavailable(api, "GET", "/devices")
    unavailable(api, "POST", "/auth/login", {"username": "admin", "password": "never asked"})
    unavailable(api, "POST", f"/devices/{devices[0]}/poll")
    assert server.child.process.poll() is None
    # What needs no database is served.
    assert api.request("GET", "/openapi.json").ok
    time.sleep(max(0, stopped + OUTAGE - time.time()))
    held = set(ledger.read([server])) - before
    postgres.start()
    restarted = time.time()

    wait_for_health(server, 200, database="up", queue="up")
    assert api.call("GET", "/devices")["total"] == HOSTS
    wait_until(lambda: polled_after(postgres.database, devices, restarted), RECOVERY, "every device is polled again")
    count = assert_all_stored(server, postgres.database)
    assert all(api.show(device)["status"] == "monitoring" for device in devices)
    assert api.call("GET", "/health")["status"] == "healthy"
    print(f"{len(held)} results while PostgreSQL was away, {count} in all; back after {time.time() - restarted:.0f} s")


@pytest.mark.parametrize("loses_storage", [False, True], ids=["keeps", "loses"])
def test_nats_is_away(start, services, instance, loses_storage):
    nats = services(ExternalNATS)
    server = instance(nats)
    database = Database.embedded(server)
    api = server.api()
    fleet, devices = fill_fleet(start, api)
    # What was published just before is stored, or lost with the storage: not what this is about.
    wait_until(lambda: stored_all(server, database), REDELIVERY, "nothing is in the queue alone")
    acknowledged = len(Ledger().read([server]))
    nats.stop()
    if loses_storage:
        nats.lose_storage()
    wait_for_health(server, 503, database="up", queue="down")
    # Reading goes on; what needs the queue says so.
    assert api.call("GET", "/devices")["total"] == HOSTS
    api.metrics(devices[0])
    unavailable(api, "POST", f"/devices/{devices[0]}/poll")
    time.sleep(2 * INTERVAL)
    assert server.child.process.poll() is None
    nats.start()
    restarted = time.time()
    wait_for_health(server, 200, database="up", queue="up")
    wait_until(lambda: polled_after(database, devices, restarted), RECOVERY, "every device is polled again")
    assert len(Ledger().read([server])) > acknowledged
    assert api.call("POST", f"/devices/{devices[0]}/poll", status=202)["job_id"]
    assert_all_stored(server, database)
    assert all(api.show(device)["status"] == "monitoring" for device in devices)


def stored_all(server, database):
    stored = {row[0] for row in database.rows("SELECT job_id FROM metrics")}
    return set(Ledger().read([server])) <= stored


@pytest.fixture
def small_disk(folder):
    """A file system of a few hundred MiB; skips where it can't be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300m,mode=711", "tmpfs", disk]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this needs the right to mount a small file system")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture
def small_nats(folder):
    """The place where nmslite's own nats-server will keep its files, on a small file system."""
    directory = folder / "nmslite-data" / "nats"
    directory.mkdir(parents=True)
    directory.parent.chmod(0o711)
    command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", directory]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this needs the right to mount a small file system")
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)


def fill(file):
    """Takes whatever is free."""
    for size in (1 << 20, 1 << 12, 1):
        try:
            while True:
                file.write(bytes(size))
        except OSError:
            continue


def test_the_disk_of_postgres_is_full(start, folder, services, instance, small_disk):
    # A small log, so that it soon wants new files.
    postgres = services(ExternalPostgres, "max_wal_size=32MB", "min_wal_size=32MB", disk=small_disk)
    server = instance(postgres)
    api = server.api()
    fleet, devices = fill_fleet(start, api, hosts=60)
    before = Ledger().read([server])
    until = time.time() + OUTAGE
    with open(small_disk / "filler", "ab", buffering=0) as file:
        # Space comes back while PostgreSQL recycles its log.
        while time.time() < until:
            fill(file)
            time.sleep(0.2)
    assert server.child.process.poll() is None, server.child.output[-3000:]
    during = Ledger().read([server])
    code, components = health(server)
    (small_disk / "filler").unlink()
    freed = time.time()
    if postgres.child.process.poll() is not None:
        postgres.start()
    wait_for_health(server, 200, database="up", queue="up")
    wait_until(lambda: polled_after(postgres.database, devices, freed), RECOVERY, "every device is polled again")
    count = assert_all_stored(server, postgres.database)
    said = [line for line in server.log_lines() if "No space left" in line or "disk full" in line]
    assert "No space left" in postgres.child.output, "PostgreSQL did not feel it"
    assert any("the database is away, results are held" in line for line in said), said
    print(f"{len(during) - len(before)} polls while full, {count} in all; {len(said)} lines; {code} {components}")


def test_the_disk_of_the_embedded_nats_is_full(start, folder, small_nats):
    """nats-server 2.9 may hang for good in a stream that met a full disk: it has to be noticed, and started anew."""
    server = start.server()
    database = Database.embedded(server)
    api = server.api()
    fleet, devices = fill_fleet(start, api, hosts=60)
    wait_until(lambda: stored_all(server, database), REDELIVERY, "nothing is in the queue alone")
    before = set(Ledger().read([server]))
    until = time.time() + OUTAGE + 10
    with open(small_nats / "filler", "ab", buffering=0) as file:
        while time.time() < until:
            fill(file)
            time.sleep(0.2)
    assert server.child.process.poll() is None, server.child.output[-3000:]
    code, components = health(server)
    lines = len(server.log_lines())
    (small_nats / "filler").unlink()
    freed = time.time()
    wait_for_health(server, 200, 2 * RECOVERY, database="up", queue="up")
    # Room on the disk does not mend a stream: until nats-server is noticed and started anew, it goes on as before.
    while_full = set(Ledger().read([server])) - before
    wait_until(lambda: polled_after(database, devices, freed), 2 * RECOVERY, "every device is polled again")
    recovered = time.time() - freed
    # nats-server 2.9 acknowledges what it keeps in memory and then can't write: of that, some may be lost, and no more.
    missing = while_full - {row[0] for row in database.rows("SELECT job_id FROM metrics")}
    count = assert_all_stored(server, database, besides=missing)
    said = [line for line in server.log_lines() if "no space left" in line.lower()]
    assert said, "nats-server did not feel it"
    # It says what is wrong, and not with every poll.
    assert lines < 40_000
    restarts = sum("nats-server ended and is restarted" in line for line in server.log_lines())
    print(f"{count} acknowledged, {len(missing)} of {len(while_full)} lost while full, {restarts} restarts, back after {recovered:.0f} s; while full {code} {components}")


def test_few_file_descriptors(start, folder):
    """More hosts than connections may be kept: each is polled, those that have none left are connected to anew."""
    limit, hosts = 300, 200
    fleet = start.winsim(hosts, "--winrms-port", "0")
    server = Server(folder)
    server.command = lambda *arguments: [
        "prlimit", f"--nofile={limit}:{limit}", BIN / "nmslite", *arguments, "--data_dir", server.data
    ]  # fmt: skip
    server.start()
    try:
        api = server.api()
        credential = api.credential()
        devices = [api.add(address, credential, interval=10) for address in fleet.addresses]
        began = time.time()
        database = Database.embedded(server)
        wait_until(lambda: polled_after(database, devices, began + 20), RECOVERY, "every device is polled, and again")
        assert descriptors(server.child.process.pid) < limit
        notices = [line for line in server.log_lines() if "the descriptor limit (ulimit -Hn) is low" in line]
        assert any("winrm.max_idle_connections" in line for line in notices)
        assert any("server.max_connections" in line for line in notices)
        shown = api.call("GET", "/devices", params={"status": "monitoring", "limit": 1})
        assert shown["total"] == hosts
        connections = sum(fleet.state(address)["connections"] for address in fleet.addresses)
        assert connections > hosts, "no connection was given up for another"
        assert_all_stored(server, database)
    finally:
        if server.child.process.poll() is None:
            server.stop()
