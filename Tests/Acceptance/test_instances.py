"""Three instances on one PostgreSQL and one NATS: the leader dies or leaves, others come and go, a password changes."""

import collections
import json
import re
import time

import pytest
import requests

from processes import HOST_PASSWORD, WRONG_PASSWORD, free_port, wait_until
from servers import ExternalNATS, ExternalPostgres, external_instance
from slots import job_id, slots
from test_fleet import parse

HOSTS = 60
INTERVAL = 5
PARTITIONS = 64
#: A job is dropped when it is older than that, so that by then the fate of a slot is known.
SETTLED = INTERVAL + 3
#: Leases last four seconds; 20 s after a death everything is as it was, on a machine that is very busy as well.
TAKE_OVER = 20


class Instance:
    def __init__(self, folder, services, name):
        self.metrics_port = free_port()
        arguments = ["--metrics.listen", f"127.0.0.1:{self.metrics_port}"]
        self.server = external_instance(folder, *services, arguments=arguments, name=name)
        self.name = name

    def start(self):
        self.server.start()
        return self

    @property
    def running(self):
        return self.server.child is not None and self.server.child.process.poll() is None

    def series(self):
        """What it exposes, by name and labels; nothing when it does not run."""
        try:
            text = requests.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5).text
        except requests.RequestException:
            return {}
        return {key: float(value) for key, value in re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)}

    def leads(self):
        return self.series().get("nmslite_scheduler_leader") == 1


class Cluster:
    def __init__(self, start, folder):
        self.services = [ExternalPostgres(folder), ExternalNATS(folder)]
        self.database = self.services[0].database
        self.fleet = start.winsim(HOSTS, "--winrms-port", "0")
        self.instances = [Instance(folder, self.services, f"nmslite-{number}") for number in range(3)]
        for instance in self.instances:
            instance.start()

    def stop(self):
        for instance in self.instances:
            if instance.running:
                instance.server.stop()
        for service in reversed(self.services):
            service.stop()

    def shares(self):
        """Partitions by instance, as the database has it."""
        rows = self.database.rows(
            "SELECT holder, count(*) FROM poll_partitions WHERE holder IS NOT NULL GROUP BY holder"
        )
        return sorted(int(count) for _, count in rows)

    def pulled(self):
        """Partitions by running instance, as each says of itself."""
        held = [i.series().get('nmslite_poll_partitions{state="held"}', 0) for i in self.instances if i.running]
        return sorted(int(count) for count in held)

    def balanced(self, among, timeout):
        expected = sorted(PARTITIONS // among + (n < PARTITIONS % among) for n in range(among))
        began = time.monotonic()
        wait_until(
            lambda: self.shares() == expected and self.pulled() == expected,
            timeout,
            f"{among} instances share the partitions: {self.shares()}, {self.pulled()}",
        )
        return time.monotonic() - began

    def times(self, since=0):
        """When each device was polled."""
        rows = self.database.rows(
            f"SELECT device_id, extract(epoch FROM timestamp) FROM metrics "
            f"WHERE timestamp >= to_timestamp({since}) ORDER BY device_id, timestamp"
        )
        times = collections.defaultdict(list)
        for device, at in rows:
            times[int(device)].append(float(at))
        return times

    def missed(self, devices, since, until):
        """The slots of each device that have no row: how often it was not polled."""
        done = {job for (job,) in self.database.rows("SELECT job_id FROM metrics")}
        missed = {}
        for device in devices:
            wanted = slots(device, INTERVAL, since, until)
            gone = [slot / 1000 - since for slot in wanted if job_id(device, slot) not in done]
            if gone:
                missed[device] = gone
        return missed

    def polls_done(self):
        """How often each job was polled to its end, by the logs of all."""
        counts = collections.Counter()
        for instance in self.instances:
            for line in instance.server.log_lines():
                if '"polled"' not in line:
                    continue
                try:
                    entry = json.loads(line)
                except ValueError:  # cut off by a kill
                    continue
                if entry.get("msg") == "polled":
                    counts[entry["job_id"]] += 1
        return counts


@pytest.fixture
def cluster(start, folder):
    cluster = Cluster(start, folder)
    yield cluster
    cluster.stop()


def test_three_instances(cluster):
    api = cluster.instances[0].server.api()
    credential = api.credential()
    devices = [api.add(address, credential, interval=INTERVAL) for address in cluster.fleet.addresses]
    cluster.balanced(3, 15)
    wait_until(lambda: len(cluster.times()) == HOSTS, 20, "the first row of every device")
    time.sleep(3 * INTERVAL)

    # The leader, which polls a third of the fleet, too, dies.
    leader = next(i for i in cluster.instances if i.leads())
    others = [i for i in cluster.instances if i is not leader]
    published = sum(i.series()['nmslite_schedule_jobs_total{result="published"}'] for i in others)
    died = time.time()
    leader.server.child.kill()
    wait_until(lambda: any(i.leads() for i in others), 10, "another instance leads", interval=0.1)
    wait_until(
        lambda: sum(i.series()['nmslite_schedule_jobs_total{result="published"}'] for i in others) > published,
        10 - (time.time() - died),
        "another instance schedules",
        interval=0.1,
    )
    scheduling = time.time() - died
    shared = cluster.balanced(2, 10) + scheduling
    time.sleep(max(0, died + TAKE_OVER + SETTLED - time.time()))
    missed = cluster.missed(devices, died - 2 * INTERVAL, died + TAKE_OVER)
    assert all(len(gone) <= 1 for gone in missed.values()), f"slots missed after the leader's death: {missed}"

    # It comes back, and then another one goes: nobody misses a poll.
    joined = time.time()
    leader.start()
    join = cluster.balanced(3, 10)
    time.sleep(INTERVAL)
    leaver = next(i for i in others if not i.leads())
    assert leaver.server.stop() == 0
    leave = cluster.balanced(2, 5)
    time.sleep(INTERVAL + SETTLED)
    none = cluster.missed(devices, joined, time.time() - SETTLED)
    assert not none, f"slots missed while an instance joined and one left: {none}"

    # The leader is stopped: another goes on with its schedule and its partitions, and again nobody misses a poll.
    leaver.start()
    cluster.balanced(3, 10)
    leader = next(i for i in cluster.instances if i.leads())
    stopped = time.time()
    assert leader.server.stop() == 0
    wait_until(lambda: any(i.leads() for i in cluster.instances if i is not leader), 5, "another leads", interval=0.1)
    cluster.balanced(2, 5)
    time.sleep(INTERVAL + SETTLED)
    none = cluster.missed(devices, stopped - INTERVAL, time.time() - SETTLED)
    assert not none, f"slots missed while the leader was stopped: {none}"

    # A password that is changed at one instance is changed for all, long before a cache's lifetime.
    remaining = [i for i in cluster.instances if i.running]
    api = remaining[0].server.api()
    api.call("PUT", f"/credentials/{credential}", {"password": WRONG_PASSWORD})
    changed = time.time() + 1
    time.sleep(INTERVAL + 2)
    assert not cluster.times(changed), "somebody still polls with the old password"
    other = remaining[1].server.api()
    other.call("PUT", f"/credentials/{credential}", {"password": HOST_PASSWORD})
    mended = time.time()
    wait_until(lambda: len(cluster.times(mended)) == HOSTS, 2 * INTERVAL + 4, "everybody polls with the right password")

    # Nothing twice, neither in the table nor on the wire.
    rows, jobs = cluster.database.rows("SELECT count(*), count(DISTINCT job_id) FROM metrics")[0]
    assert rows == jobs
    twice = {job: count for job, count in cluster.polls_done().items() if count > 1}
    assert not twice, f"jobs that were polled twice: {twice}"
    series = [i.series() for i in cluster.instances if i.running]
    duplicates = sum(s["nmslite_queue_duplicates_total"] for s in series)
    discarded = sum(s['nmslite_writer_discarded_total{reason="duplicate"}'] for s in series)
    text = "".join(i.server.log.read_text(errors="replace") for i in cluster.instances)
    assert "lost the lock" not in text, "giving a lock back is no loss"
    print(
        f"scheduling moved after {scheduling:.1f} s, partitions after {shared:.1f} s; {len(missed)} of {HOSTS} devices "
        f"missed a poll; a join took {join:.1f} s, a leave {leave:.1f} s after the process's end; {rows} rows, "
        f"{duplicates:.0f} publishes and {discarded:.0f} results dropped as duplicates"
    )
