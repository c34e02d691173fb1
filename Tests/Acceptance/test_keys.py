"""`nmslite keys rotate`: beside a server that polls, killed at twenty points, and with keys that are configured."""

import json
import os
import random
import secrets
import signal
import stat
import subprocess
import threading
import time

from observing import Database
from processes import ADMIN_PASSWORD, HOST_PASSWORD, Child, wait_until
from servers import SECRETS, ExternalNATS, ExternalPostgres, external_instance

SEED = int(os.environ.get("NMSLITE_KEYS_SEED", "11"))
CREDENTIALS = 200
DEVICES = 5
KILLS = 20


class Keys:
    """The `keys` command, on a server's data directory and with its environment."""

    def __init__(self, server, environment=None):
        self.server = server
        self.environment = {**os.environ, **server.environment, **(environment or {})}
        self.seen = ""

    def _command(self, *arguments):
        settings = [str(part) for part in self.server.arguments]
        return [str(part) for part in self.server.command("keys", *arguments, *settings)]

    def run(self, *arguments, status=0):
        done = subprocess.run(
            self._command(*arguments), env=self.environment, capture_output=True, text=True, timeout=60
        )
        self.seen += done.stdout + done.stderr
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout if status == 0 else done.stderr

    def begin_rotation(self):
        return subprocess.Popen(
            self._command("rotate"), env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def rotate(self):
        return json.loads(self.run("rotate", "--json"))

    def status(self):
        """Opens every stored password with what a server would be started with now."""
        return json.loads(self.run("status", "--json"))

    def current(self):
        return self.status()["keys"][0]["id"]


class Lock:
    """A session that keeps others from changing something, until it is released."""

    def __init__(self, database, statement):
        self.process = subprocess.Popen(
            ["psql", "-X", "-q", "-At", "-h", database.host, "-p", database.port, "-U", "postgres", "-d", "nmslite"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.process.stdin.write(f"BEGIN;\n{statement};\nSELECT 'locked';\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.strip() == "locked":
                return
        raise AssertionError(f"not locked: {statement}")

    def release(self):
        self.process.communicate("ROLLBACK;\n", timeout=10)


def waits_for_lock(database):
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'nmslite' AND wait_event_type = 'Lock'"
    return int(database.run(query)) > 0


def unsealed(database):
    """Credentials that a rotation which was cut off has yet to seal."""
    query = "SELECT c.id FROM credentials c JOIN master_keys k ON k.id = c.key_id WHERE NOT k.is_current"
    return [int(line) for line in database.run(query).split()]


def make_credentials(api, count):
    return [api.credential(name=f"stored-{number}", password=f"{HOST_PASSWORD}-{number}") for number in range(count)]


def key_files(server):
    folder = server.data / "secrets"
    return {file.name: file.read_text().strip() for file in folder.iterdir() if file.name.startswith("master_key")}


def assert_polls_went_on(api, devices, polled_before):
    """Every device is polled, and no poll has failed since it was provisioned."""

    def look():
        return all(len(api.rows(device)) >= polled_before[device] + 2 for device in devices)

    wait_until(look, 25, "polls after the rotation")
    for device in devices:
        shown = api.show(device)
        assert shown["status"] == "monitoring" and shown["last_error"] is None, shown


def test_a_rotation_beside_a_server_killed_at_twenty_points(start):
    choice = random.Random(SEED)
    print(f"NMSLITE_KEYS_SEED={SEED}")
    fleet = start.winsim(DEVICES)
    # Every poll opens its credential anew.
    server = start.server("--cache.credential_ttl", "100ms")
    api = server.api()
    devices = []
    for number, address in enumerate(fleet.addresses):
        devices.append(api.add(address, api.credential(name=f"polled-{number}"), interval=5))
    stored = make_credentials(api, CREDENTIALS - DEVICES)
    for device in devices:
        api.metrics(device)
    keys, database = Keys(server), Database.embedded(server)
    polled = {device: len(api.rows(device)) for device in devices}

    # A whole one, to know how long it takes.
    first = key_files(server)
    assert set(first) == {"master_key"}
    began = time.monotonic()
    outcome = keys.rotate()
    length = time.monotonic() - began
    assert outcome["sealed"] == CREDENTIALS and len(outcome["ended"]) == 1
    assert set(key_files(server)) == {"master_key"} and key_files(server) != first
    assert stat.S_IMODE(os.stat(server.data / "secrets" / "master_key").st_mode) == 0o600
    assert keys.status()["unopened"] == []

    # Where a lock stops it, and by the clock.
    points = ["row"] * 7 + [
        "LOCK TABLE audit_log IN SHARE MODE",  # the next key was written, and is not current
        "SELECT 1 FROM master_keys FOR KEY SHARE",  # every row is sealed, the key before has not ended
        "LOCK TABLE credentials IN SHARE ROW EXCLUSIVE MODE",  # the next key is current, and no row has it
    ]
    points += [choice.uniform(0, length * 1.1) for _ in range(KILLS - len(points))]
    choice.shuffle(points)
    halves = ended = 0
    for point in points:
        if point == "row":
            point = f"SELECT 1 FROM credentials WHERE id = {choice.choice(unsealed(database) or stored)} FOR UPDATE"
        lock = Lock(database, point) if isinstance(point, str) else None
        rotation = keys.begin_rotation()
        if lock:
            # What is left of the last one may end without coming there.
            wait_until(
                lambda: waits_for_lock(database) or rotation.poll() is not None, 20, f"the rotation waits at {point}",
                interval=0.02,
            )  # fmt: skip
        else:
            time.sleep(point)
        rotation.send_signal(signal.SIGKILL)
        ended += rotation.wait(10) == 0
        if lock:
            lock.release()
        status = keys.status()
        assert status["credentials"] == CREDENTIALS and status["unopened"] == [], f"{point}: {status}"
        assert all(key["known"] for key in status["keys"]), f"{point}: {status}"
        halves += all(key["credentials"] > 0 for key in status["keys"]) and len(status["keys"]) == 2
    print(f"a rotation takes {length:.2f} s; {halves} of {KILLS} kills left rows of both keys, {ended} came too late")
    assert halves >= 5 and ended <= KILLS // 2
    # The server that ran all the time finds every key, also for what it writes.
    number = api.credential(name="written after the kills")
    api.call("PUT", f"/credentials/{stored[0]}", {"password": "another"})
    before = key_files(server)
    keys.rotate()
    status = keys.status()
    assert [key["credentials"] for key in status["keys"]] == [CREDENTIALS + 1] and status["unopened"] == []
    assert set(key_files(server)) == {"master_key"}
    api.call("DELETE", f"/credentials/{number}")
    assert_polls_went_on(api, devices, polled)

    # The last moment that a kill can meet: the database is done, the file is not.
    old = key_files(server)["master_key"]
    keys.rotate()
    new = key_files(server)["master_key"]
    for name, text in (("master_key", old), ("master_key_next", new)):
        (server.data / "secrets" / name).write_text(text + "\n")
        (server.data / "secrets" / name).chmod(0o600)
    assert keys.status()["unopened"] == []
    assert keys.rotate() == {
        "ended": [], "key": keys.current(), "key_file": str(server.data / "secrets" / "master_key"), "sealed": 0,
    }  # fmt: skip
    assert key_files(server) == {"master_key": new}

    # Keys before open nothing; the audit knows who ended them.
    assert server.stop() == 0
    for text in {*before.values(), *first.values(), old} - {new}:
        refused = Child(
            server.command("serve", "--server.port", 0), server.folder / "refused.log", {"NMSLITE_MASTER_KEY": text}
        )
        assert refused.process.wait(30) == 78, refused.output
        refused.stream.close()
    server.start()
    api = server.api()
    entries = api.call("GET", "/audit", params={"action": "master_key.rotated", "limit": 100})["entries"]
    assert entries and all(entry["actor"]["type"] == "command_line" for entry in entries)
    assert_polls_went_on(api, devices, {device: len(api.rows(device)) for device in devices})
    for text in {old, new, *first.values(), *before.values(), HOST_PASSWORD}:
        assert text not in keys.seen and text not in server.log.read_text(errors="replace")


def test_two_rotations_at_once_and_writes_meanwhile(start):
    server = start.server()
    api = server.api()
    stored = make_credentials(api, 20)
    keys, database = Keys(server), Database.embedded(server)
    lock = Lock(database, f"SELECT 1 FROM credentials WHERE id = {stored[15]} FOR UPDATE")
    rotation = keys.begin_rotation()
    wait_until(lambda: waits_for_lock(database), 20, "the rotation waits", interval=0.02)
    assert "under way" in keys.run("rotate", status=75)
    # The half that is sealed and the half that is not, a new one and a changed one.
    made = []
    writer = threading.Thread(target=lambda: made.append(api.credential(name="new")))
    writer.start()
    writer.join(20)
    assert made, "a credential is stored during a rotation"
    api.call("PUT", f"/credentials/{stored[2]}", {"password": "changed"})
    status = keys.status()
    assert len(status["keys"]) == 2 and status["unopened"] == [] and status["credentials"] == 21
    lock.release()
    assert rotation.wait(20) == 0
    status = keys.status()
    assert len(status["keys"]) == 1 and status["unopened"] == [] and status["credentials"] == 21


def test_configured_keys_with_an_external_database(start, folder):
    postgres, nats = ExternalPostgres(folder), ExternalNATS(folder)
    server = external_instance(folder, postgres, nats)
    old, new = SECRETS["NMSLITE_MASTER_KEY"], secrets.token_hex(32)
    try:
        server.start()
        api = server.api()
        make_credentials(api, 12)
        keys = Keys(server)
        assert "NMSLITE_MASTER_KEY_NEXT" in keys.run("rotate", status=78)
        # First every instance is given both keys.
        assert server.stop() == 0
        server.environment["NMSLITE_MASTER_KEY_NEXT"] = new
        server.start()
        keys = Keys(server)
        assert keys.rotate()["sealed"] == 12
        assert keys.rotate() == {"ended": [], "key": keys.current(), "sealed": 0}
        api = server.api()
        make = api.credential(name="written by the server that was started with the key before")
        assert api.call("GET", f"/credentials/{make}")["name"]
        assert not list((server.data / "secrets").glob("master_key*"))
        # Then the next key is the only one.
        assert server.stop() == 0
        del server.environment["NMSLITE_MASTER_KEY_NEXT"]
        refused = Child(server.command("serve", *server.arguments), folder / "refused.log", server.environment)
        assert refused.process.wait(30) == 78 and "another master key" in refused.output
        refused.stream.close()
        server.environment["NMSLITE_MASTER_KEY"] = new
        server.start()
        assert Keys(server).status()["unopened"] == []
        text = server.log.read_text(errors="replace") + keys.seen
        assert old not in text and new not in text and ADMIN_PASSWORD not in text
        assert server.stop() == 0
    finally:
        if server.child.process.poll() is None:
            server.stop()
        nats.stop()
        postgres.stop()
