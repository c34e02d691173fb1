"""Random faults of everything that can be killed, from a seed, and what must hold afterwards.

A fleet is polled while instances, their servers and the hosts' connections are killed, frozen and refused. Afterwards
each result that a poller had acknowledged is in the table exactly once, every device is polled, nothing is left over.
`test_chaos.py` runs it for a minute, `scripts/chaos` as long as one likes.
"""

import json
import os
import random
import signal
import time

from observing import Database, descendants, descriptors, memory
from processes import Server, Winsim, children_of, wait_until
from servers import ExternalNATS, ExternalPostgres, external_instance, freeze

#: After the last fault, what the queue holds for a killed writer comes again after its ack wait of 30 s.
REDELIVERY = 90
#: Descriptors and memory that an instance may have beyond what it had at the start, in steady state.
SLACK_DESCRIPTORS = 40
SLACK_MEMORY = 64 << 20


class Instance:
    """One nmslite, started again when it was killed."""

    def __init__(self, server):
        self.server = server

    @property
    def pid(self):
        return self.server.child.process.pid

    def pids(self, name):
        """Of the processes below it that have a name."""
        return [process.pid for process in descendants(self.pid) if process.name == name]

    def kill(self):
        self.server.child.kill()
        self._gone()
        self.server.start(timeout=90)

    def restart(self):
        status = self.server.child.terminate(timeout=40)
        assert status == 0, f"{self.server.log.name}: exit status {status} at SIGTERM"
        self._gone()
        self.server.start(timeout=90)

    def _gone(self):
        mine = str(self.server.data)
        wait_until(lambda: children_of(mine) == [], 30, f"every child is gone: {children_of(mine)}")


class Ledger:
    """Jobs whose results pollers had acknowledged, by their logs, which are read once each."""

    def __init__(self):
        self.positions = {}
        self.jobs = {}
        self.failed = set()

    def read(self, servers):
        for server in servers:
            with open(server.log, "rb") as file:
                file.seek(self.positions.get(server.log, 0))
                text = file.read()
            # The last line may not be complete.
            text = text[: text.rfind(b"\n") + 1]
            self.positions[server.log] = self.positions.get(server.log, 0) + len(text)
            for line in text.splitlines():
                if b'"polled"' not in line and b'"poll failed"' not in line:
                    continue
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                # A job whose first poll failed has its result, which is no row: another one is a duplicate.
                if entry.get("msg") == "poll failed":
                    self.failed.add(entry["job_id"])
                elif entry.get("msg") == "polled" and entry["job_id"] not in self.failed:
                    self.jobs[entry["job_id"]] = int(entry["device_id"])
        return self.jobs


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Chaos:
    """A fleet, its instances, and faults.

    - With one instance, PostgreSQL and NATS are its own children; with more, all share servers of the test's.
    """

    def __init__(self, folder, hosts=60, interval=5, instances=1, seed=1, pause=(3.0, 10.0), report=print):
        self.folder = folder
        self.interval = interval
        self.random = random.Random(seed)
        self.pause = pause
        self.report = report
        self.counts = {}
        self.ledger = Ledger()
        self.started = []
        self.services = []
        self.peak = 0
        self.seed = seed
        self._start(hosts, instances)

    # Starting and stopping.

    def _start(self, hosts, instances):
        self.fleet = Winsim(self.folder, hosts, "--winrms-port", "0")
        self.started.append(self.fleet)
        if instances > 1:
            self.postgres, self.nats = ExternalPostgres(self.folder), ExternalNATS(self.folder)
            self.services = [self.postgres, self.nats]
            self.database = self.postgres.database
            servers = [external_instance(self.folder, *self.services, name=f"nmslite-{n}") for n in range(instances)]
        else:
            servers = [Server(self.folder)]
            self.database = Database.embedded(servers[0])
        self.servers = servers
        self.started += servers
        for server in servers:
            server.start()
        self.instances = [Instance(server) for server in servers]
        api = servers[0].api()
        credential = api.credential()
        self.devices = [api.add(address, credential, interval=self.interval) for address in self.fleet.addresses]
        api.session.close()
        self.wait_for_polls("every device is polled before the faults")
        self.before = self.state()

    def stop(self):
        """Ends whatever runs, however this went."""
        for process in reversed(self.started):
            if process.child is not None and process.child.process.poll() is None:
                process.child.terminate(timeout=40)
        for service in reversed(self.services):
            service.stop()

    def state(self):
        """Descriptors and resident memory of each instance."""
        return [(descriptors(instance.pid), memory(instance.pid)[0]) for instance in self.instances]

    # Faults.

    def faults(self):
        """What may happen, and how often beside the others."""
        faults = [
            (self.kill_instance, 3),
            (self.restart_instance, 1),
            (self.kill_nats, 3),
            (self.kill_postgres, 3),
            (self.kill_a_backend, 2),
            (self.freeze_postgres, 1),
            (self.freeze_nats, 1),
            (self.reboot_hosts, 3),
            (self.refuse_hosts, 2),
        ]
        if not self.services:
            faults.append((self.kill_a_guard, 2))
        return faults

    def any_instance(self):
        return self.random.choice(self.instances)

    def kill_instance(self):
        self.any_instance().kill()

    def restart_instance(self):
        self.any_instance().restart()

    def kill_nats(self):
        if self.services:
            self.nats.child.process.kill()
            self.nats.stop()
            time.sleep(self.random.uniform(0, 3))
            self.nats.start()
        else:
            for pid in self.instances[0].pids("nats-server"):
                kill(pid)

    def postgres_pids(self):
        """The first process, and those below it."""
        if self.services:
            return [self.postgres.child.process.pid, *(p.pid for p in descendants(self.postgres.child.process.pid))]
        return self.instances[0].pids("postgres")

    def kill_postgres(self):
        pids = self.postgres_pids()
        for pid in pids[:1] if self.random.random() < 0.5 else pids:
            kill(pid)
        if self.services:
            # Backends whose postmaster was killed end by themselves, and no new server starts before.
            wait_until(lambda: not [p for p in pids[1:] if alive(p)], 30, "backends have ended")
            self.postgres.stop()
            time.sleep(self.random.uniform(0, 3))
            self.postgres.start()

    def kill_a_backend(self):
        pids = self.postgres_pids()
        if len(pids) > 1:
            kill(self.random.choice(pids[1:]))

    def kill_a_guard(self):
        guards = [process for process in descendants(self.instances[0].pid) if b"__guard" in process.arguments]
        if guards:
            kill(self.random.choice(guards).pid)

    def freeze_postgres(self):
        freeze(self.postgres_pids(), self.random.uniform(1, 6))

    def freeze_nats(self):
        pids = [self.nats.child.process.pid] if self.services else self.instances[0].pids("nats-server")
        freeze(pids, self.random.uniform(1, 6))

    def some_hosts(self):
        count = self.random.randint(1, len(self.fleet.addresses))
        return ", ".join(self.random.sample(self.fleet.addresses, count))

    def reboot_hosts(self):
        down = self.random.choice([0, 1, 3])
        self.fleet.set_faults([{"hosts": self.some_hosts(), "fault": "reboot", "down": f"{down}s"}])

    def refuse_hosts(self):
        kind = self.random.choice(["refused", "drop_mid_answer"])
        self.fleet.set_faults([{"hosts": self.some_hosts(), "fault": kind, "for": f"{self.random.randint(1, 8)}s"}])

    # Running.

    def run(self, seconds):
        """Faults for so long: each kind once in any order, then at random. Between two, seconds to recover or not.

        On a slow machine it takes longer, until each kind had its turn.
        """
        end = time.monotonic() + seconds
        choices, weights = zip(*self.faults())
        first = self.random.sample(choices, len(choices))
        while first or time.monotonic() < end:
            fault = first.pop() if first else self.random.choices(choices, weights)[0]
            name = fault.__name__
            self.counts[name] = self.counts.get(name, 0) + 1
            begun = time.monotonic()
            fault()
            self.report(f"{name}: {time.monotonic() - begun:.1f} s")
            time.sleep(min(self.random.uniform(*self.pause), max(0, end - time.monotonic())))
            for instance in self.instances:
                assert instance.server.child.process.poll() is None, self._ended(instance.server)
                self.peak = max(self.peak, memory(instance.pid)[0])
            self.ledger.read(self.servers)

    def _ended(self, server):
        status = server.child.process.poll()
        return f"{server.log.name}: nmslite ended by itself with {status}:\n{server.child.output[-4000:]}"

    # What must hold.

    def wait_for_polls(self, what, timeout=None):
        """Until every device has a row that is collected after now."""
        now = time.time()
        # Crash recovery, back-off of restarts and of hosts that were away, and a poll.
        timeout = timeout or 60 + 2 * self.interval

        def polled():
            for server in self.servers:
                assert server.child.process.poll() is None, self._ended(server)
            try:
                rows = self.database.rows(
                    f"SELECT DISTINCT device_id FROM metrics WHERE timestamp > to_timestamp({now})"
                )
            except AssertionError:
                return False
            return {int(row[0]) for row in rows} >= set(self.devices)

        wait_until(polled, timeout, what, interval=0.5)
        return time.time() - now

    def check(self):
        """Everything that must hold when the faults are over; returns the counts."""
        self.fleet.set_faults([])
        recovery = self.wait_for_polls("every device is polled after the faults")
        self.ledger.read(self.servers)
        acknowledged = dict(self.ledger.jobs)
        assert acknowledged, "no log tells of a poll"

        def stored():
            return {job: (int(device), int(count)) for job, device, count in self.database.rows(
                "SELECT job_id, min(device_id), count(*) FROM metrics GROUP BY job_id"
            )}  # fmt: skip

        def missing():
            rows = stored()
            return [job for job in acknowledged if job not in rows]

        late = len(missing())
        begun = time.monotonic()
        while (lost := missing()) and time.monotonic() < begun + REDELIVERY:
            time.sleep(0.5)
        named = ", ".join(f"{job} of device {acknowledged[job]}" for job in lost[:5])
        assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged results are no rows: {named}"
        waited = time.monotonic() - begun
        rows = stored()
        twice = {job: count for job, (_, count) in rows.items() if count != 1}
        assert not twice, f"rows twice: {twice}"
        wrong = [job for job, device in acknowledged.items() if rows[job][0] != device]
        assert not wrong, f"rows of other devices: {wrong}"
        after = self.state()
        # Any of several instances may have come to poll all hosts.
        slack = SLACK_DESCRIPTORS + (len(self.devices) if len(self.instances) > 1 else 0)
        for (fds, rss), (fds_before, rss_before) in zip(after, self.before):
            assert fds <= fds_before + slack, f"{fds} descriptors, {fds_before} before the faults"
            assert rss <= rss_before + SLACK_MEMORY, f"{rss >> 20} MiB, {rss_before >> 20} before the faults"
        # As many processes as at a start: no server is there twice, and nobody waits for a dead one.
        self._check_children()
        result = {
            "seed": self.seed,
            "faults": dict(sorted(self.counts.items())),
            "acknowledged": len(acknowledged),
            "rows": len(rows),
            "late": late,
            "late_seconds": round(waited, 1),
            "recovery_seconds": round(recovery, 1),
            "slots_without_row": self.slots_without_row(),
            "descriptors": [(before[0], now[0]) for before, now in zip(self.before, after)],
            "memory_mib": [(before[1] >> 20, now[1] >> 20) for before, now in zip(self.before, after)],
            "peak_memory_mib": self.peak >> 20,
        }
        for instance in self.instances:
            data = str(instance.server.data)
            status = instance.server.child.terminate(timeout=40)
            assert status == 0, f"exit status {status} at the end:\n{instance.server.child.output[-3000:]}"
            wait_until(lambda: children_of(data) == [], 10, f"no process is left: {children_of(data)}")
        return result

    def _check_children(self):
        for instance in self.instances:
            below = descendants(instance.pid)
            dead = [process.name for process in below if process.state == "Z"]
            assert not dead, f"nobody waited for {dead}"
            own = [process for process in below if process.parent == instance.pid]
            assert len(own) == (0 if self.services else 2), [process.arguments for process in own]

    def slots_without_row(self):
        """Polls that were never made or whose result nobody had acknowledged, by the gaps between rows."""
        gaps = self.database.rows(
            "SELECT sum(greatest(0, round(extract(epoch FROM gap) / " + str(self.interval) + ") - 1)) FROM "
            "(SELECT timestamp - lag(timestamp) OVER (PARTITION BY device_id ORDER BY timestamp) AS gap FROM metrics) g"
        )
        return int(float(gaps[0][0] or 0))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
