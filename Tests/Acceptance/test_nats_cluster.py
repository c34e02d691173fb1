"""Two instances on a NATS cluster of three, of which a server dies and comes back.

NMSLITE_NATS_LOSSES=3 has each of them die in turn, a minute for each.
"""

import collections
import os
import re
import time

import pytest
import requests

from processes import Child, free_port, wait_until
from servers import ExternalPostgres, external_instance
from slots import job_id, slots

HOSTS = 20
INTERVAL = 5
#: Elections, reconnects and repeated publishes; then everything is to be as before.
RECOVERY = 30
LOSSES = int(os.environ.get("NMSLITE_NATS_LOSSES", "1"))
SETTLED = INTERVAL + 3


class NATSCluster:
    """Three nats-servers on loopback, with all streams on each."""

    def __init__(self, folder):
        self.folder = folder
        self.clients = [free_port() for _ in range(3)]
        self.routes = [free_port() for _ in range(3)]
        self.children = [None] * 3
        for number in range(3):
            self.start(number)

    def start(self, number):
        peers = ", ".join(f'"nats://127.0.0.1:{port}"' for port in self.routes)
        file = self.folder / f"nats-{number}.conf"
        file.write_text(
            f'server_name: "nats-{number}"\n'
            f"listen: 127.0.0.1:{self.clients[number]}\n"
            f'jetstream {{ store_dir: "{self.folder / f"nats-{number}"}" }}\n'
            f'cluster {{ name: "test", listen: 127.0.0.1:{self.routes[number]}, routes: [{peers}] }}\n'
        )
        self.children[number] = Child(["nats-server", "-c", file], self.folder / f"nats-{number}.log")

    def kill(self, number):
        self.children[number].kill()

    def stop(self):
        for child in self.children:
            if child.process.poll() is None:
                child.process.terminate()
                child.process.wait(20)
            child.stream.close()

    @property
    def arguments(self):
        urls = ",".join(f"nats://127.0.0.1:{port}" for port in self.clients)
        return ["--queue.embedded", "false", "--queue.url", urls, "--queue.replicas", "3"]


@pytest.fixture
def services(folder):
    services = [ExternalPostgres(folder), NATSCluster(folder)]
    yield services
    for service in reversed(services):
        service.stop()


def published(ports):
    text = "".join(requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text for port in ports)
    return sum(float(n) for n in re.findall(r'^nmslite_schedule_jobs_total\{result="published"\} (\S+)$', text, re.M))


def test_a_cluster_bears_the_loss_of_a_server(start, folder, services):
    database, nats = services[0].database, services[1]
    fleet = start.winsim(HOSTS, "--winrms-port", "0")
    ports = [free_port(), free_port()]
    instances = []
    for port in ports:
        arguments = ["--metrics.listen", f"127.0.0.1:{port}"]
        instances.append(external_instance(folder, *services, arguments=arguments, name=f"nmslite-{port}"))
    try:
        for instance in instances:
            instance.start()
        api = instances[0].api()
        credential = api.credential()
        devices = [api.add(address, credential, interval=INTERVAL) for address in fleet.addresses]

        def rows():
            return int(database.rows("SELECT count(DISTINCT device_id) FROM metrics")[0][0])

        wait_until(lambda: rows() == HOSTS, 60, "the first row of every device")
        time.sleep(2 * INTERVAL)
        lost = collections.Counter()
        for number in range(LOSSES):
            before = published(ports)
            killed = time.time()
            nats.kill(number)
            wait_until(lambda: published(ports) >= before + HOSTS, RECOVERY, "scheduling goes on")
            time.sleep(max(0, killed + RECOVERY - time.time()))
            good = time.time()
            time.sleep(3 * INTERVAL + SETTLED)
            done = {job for (job,) in database.rows("SELECT job_id FROM metrics")}
            for device in devices:
                wanted = slots(device, INTERVAL, good, good + 3 * INTERVAL)
                gone = [slot for slot in wanted if job_id(device, slot) not in done]
                assert not gone, f"with nats-{number} away, device {device} misses {len(gone)} of {len(wanted)} polls"
                meanwhile = slots(device, INTERVAL, killed, good)
                lost[number] += sum(job_id(device, slot) not in done for slot in meanwhile)
            nats.start(number)
            time.sleep(INTERVAL)
        # Whatever a poller was told is safe is in the table, once.
        acknowledged = set()
        for instance in instances:
            polled = [line for line in instance.log_lines() if '"polled"' in line]
            acknowledged |= {found[1] for line in polled if (found := re.search(r'"job_id":"([^"]+)"', line))}

        def missing():
            return acknowledged - {job for (job,) in database.rows("SELECT job_id FROM metrics")}

        wait_until(lambda: not missing(), 60, "every acknowledged result in the table")
        total, distinct = database.rows("SELECT count(*), count(DISTINCT job_id) FROM metrics")[0]
        assert total == distinct
        assert len(acknowledged) > 100
        wanted = RECOVERY // INTERVAL * HOSTS
        print(
            f"{len(acknowledged)} polls, all in the table; not polled in the {RECOVERY} s after each loss, of {wanted}: "
            f"{dict(lost)}"
        )
    finally:
        for instance in instances:
            if instance.child is not None and instance.child.process.poll() is None:
                instance.stop()
