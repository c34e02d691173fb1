"""10,000 hostile requests: the server answers /health throughout and is afterwards what it was before.

NMSLITE_HOSTILE_SEED and NMSLITE_HOSTILE_COUNT give another run; both are printed.
"""

import collections
import json
import os
import pathlib
import random
import resource
import socket
import ssl
import threading
import time

import requests

from hostile import TIMEOUT, Connection, Generator, send_http2, send_tcp, tls_context

SEED = int(os.environ.get("NMSLITE_HOSTILE_SEED") or random.randrange(2**32))
COUNT = int(os.environ.get("NMSLITE_HOSTILE_COUNT", "10000"))
IDLE = 1000
WORKERS = 6
SLOW = 100

#: A new client's GET /health, in seconds: what an administrator's check would wait for. The storm takes every core.
HEALTH_BOUND = 5

#: How much more memory (VmRSS) than before there may be after all of it, in KB. The server gives back what its
#: allocator keeps (MemoryTrimmer); the bound is for pages of which a part is in use, and for caches. 1,000 idle
#: connections have some 60 MB, and 10,000 requests that leaked 3 KB each would have 30 MB.
GROWTH_BOUND = 28 * 1024


class Process:
    def __init__(self, pid):
        self.folder = pathlib.Path(f"/proc/{pid}")

    @property
    def memory(self):
        """VmRSS in KB."""
        for line in (self.folder / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    @property
    def descriptors(self):
        return len(list((self.folder / "fd").iterdir()))

    def settle(self, descriptors=None, memory=None, timeout=30):
        """Waits until both are back to about what they were, or for the time-out; answers (memory, descriptors)."""
        deadline = time.monotonic() + timeout
        time.sleep(2)
        while time.monotonic() < deadline:
            if (descriptors is None or self.descriptors <= descriptors + 5) and (
                memory is None or self.memory < memory + GROWTH_BOUND
            ):
                break
            time.sleep(0.5)
        return self.memory, self.descriptors


class Prober(threading.Thread):
    """Asks /health all the time, each time as a client that has just come."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.stopped = threading.Event()
        self.latencies = []
        self.failures = []

    def run(self):
        while not self.stopped.wait(0.1):
            start = time.monotonic()
            try:
                with requests.Session() as session:
                    session.trust_env = False
                    answer = session.get(
                        f"{self.server.url}/health", verify=self.server.certificate, timeout=TIMEOUT
                    )
                    if answer.status_code != 200:
                        self.failures.append(f"{answer.status_code} {answer.text[:200]}")
            except requests.RequestException as error:
                self.failures.append(repr(error))
            self.latencies.append(time.monotonic() - start)

    def finish(self):
        self.stopped.set()
        self.join()


class Storm:
    """Hostile requests of every kind from several threads."""

    def __init__(self, port, token):
        self.port = port
        self.token = token
        self.lock = threading.Lock()
        self.statuses = collections.Counter()
        self.sent = collections.Counter()
        self.wrong = []

    def run(self, seed, count):
        threads = [
            threading.Thread(target=self._work, args=(seed * 1000 + number, count // WORKERS), daemon=True)
            for number in range(WORKERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, seed, count):
        generator = Generator(seed, self.token)
        hello = generator.hello()
        connection = None
        for _ in range(count):
            kind = generator.random.choices(
                ["request", "malformed", "abandoned", "tls", "half-open", "http2"], [60, 18, 6, 8, 3, 5]
            )[0]
            with self.lock:
                self.sent[kind] += 1
            try:
                if kind in ("request", "malformed", "abandoned"):
                    data, method = generator.request() if kind != "malformed" else (generator.malformed(), "GET")
                    connection = connection or Connection(self.port)
                    connection = self._exchange(connection, kind, data, method)
                elif kind == "tls":
                    send_tcp(self.port, generator.tls_garbage(hello))
                elif kind == "half-open":
                    send_tcp(self.port, hello[: generator.random.randrange(len(hello))])
                else:
                    send_http2(self.port, generator.frames())
            except OSError:
                # Closed while we were still sending: a way of refusing.
                connection = None
            except Exception as error:
                # What can't be read is an answer gone wrong; a thread that died would be silence.
                self._complain(repr(error), b"")
                connection = None

    def _exchange(self, connection, kind, data, method):
        """Sends, reads the answers there are; answers the connection if it can be used further."""
        try:
            connection.socket.settimeout(TIMEOUT)
            connection.socket.sendall(data)
            if kind == "abandoned":
                connection.close()
                return None
            # What is malformed may be the beginning of something: nothing more comes.
            connection.socket.settimeout(TIMEOUT if kind == "request" else 0.3)
            answer = connection.read(method)
        except EOFError:
            if kind == "request":
                self._complain("closed without an answer", data)
            connection.close()
            return None
        except (TimeoutError, ConnectionError, ssl.SSLError) as error:
            if kind == "request" and isinstance(error, TimeoutError):
                self._complain("no answer", data)
            connection.close()
            return None
        self._judge(answer, data, method)
        if kind == "malformed" or answer.fields.get("connection") == "close":
            connection.close()
            return None
        return connection

    def _judge(self, answer, data, method):
        with self.lock:
            self.statuses[answer.status] += 1
        if answer.status >= 500:
            self._complain(f"{answer.status} {answer.body[:200]}", data)
        if "x-request-id" not in answer.fields:
            self._complain(f"{answer.status} without an id", data)
        if answer.status >= 400 and method != "HEAD":
            try:
                assert json.loads(answer.body)["success"] is False
            except (ValueError, KeyError, AssertionError):
                self._complain(f"{answer.status} without the envelope: {answer.body[:200]}", data)

    def _complain(self, what, data):
        with self.lock:
            self.wrong.append(f"{what}: {data[:300]!r}")


class SlowLoris(threading.Thread):
    """Heads that grow by a byte now and then, on many connections."""

    def __init__(self, port, count):
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.connections = [Connection(port) for _ in range(count)]
        self.closed = 0

    def run(self):
        for connection in self.connections:
            connection.socket.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        while not self.stopped.wait(0.5):
            for connection in list(self.connections):
                try:
                    connection.socket.sendall(b"x")
                except OSError:
                    self.connections.remove(connection)
                    self.closed += 1

    def finish(self):
        self.stopped.set()
        self.join()
        for connection in self.connections:
            connection.close()


def open_idle(port, count):
    """Connections that have shaken hands and say nothing."""
    connections, lock = [], threading.Lock()
    context = tls_context(["h2", "http/1.1"])

    def work(number):
        for _ in range(number):
            raw = socket.create_connection(("127.0.0.1", port), TIMEOUT)
            connection = context.wrap_socket(raw, server_hostname="localhost")
            with lock:
                connections.append(connection)

    threads = [threading.Thread(target=work, args=(count // 8,), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(connections) == count // 8 * 8, "not every idle connection came to be"
    return connections


def test_the_server_stays_what_it_was(start):
    print(f"\nNMSLITE_HOSTILE_SEED={SEED} NMSLITE_HOSTILE_COUNT={COUNT}")
    # Both ends of a thousand connections: this end is ours.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = start.server(
        "--auth.bcrypt_cost", 4,
        "--rate_limit.requests_per_second", 100_000,
        "--server.read_timeout", "5s",
        "--server.write_timeout", "5s",
        "--cache.cleanup_interval", "1s",
    )  # fmt: skip
    api = server.api()
    token = api.tokens["access_token"]
    process = Process(server.child.process.pid)
    prober = Prober(server)
    started = time.monotonic()

    # Buffers, pools and caches have their size after some of everything.
    Storm(server.port, token).run(SEED, COUNT // 10)
    before, descriptors = process.settle(timeout=2)
    prober.start()
    measured = {}
    storm = Storm(server.port, token)
    for half in (1, 2):
        slow = SlowLoris(server.port, SLOW)
        slow.start()
        storm.run(SEED + half, COUNT // 2)
        slow.finish()
        measured[f"half {half}"] = process.settle(descriptors, before)

    idle = open_idle(server.port, IDLE)
    measured["while idle"] = (process.memory, process.descriptors)
    assert process.descriptors >= descriptors + IDLE
    time.sleep(1)
    for connection in idle:
        connection.close()
    measured["at the end"] = process.settle(descriptors, before)
    prober.finish()

    latencies = sorted(prober.latencies)
    print(
        f"{sum(storm.sent.values())} requests {dict(storm.sent)}, answers {dict(sorted(storm.statuses.items()))}, "
        f"{slow.closed} slow clients closed, {time.monotonic() - started:.0f} s\n"
        f"/health: {len(latencies)} times, median {latencies[len(latencies) // 2] * 1000:.0f} ms, "
        f"longest {latencies[-1] * 1000:.0f} ms\n"
        f"VmRSS before {before} KB, descriptors {descriptors}; (VmRSS, descriptors): {measured}"
    )
    assert server.child.process.poll() is None
    assert not storm.wrong, f"seed {SEED}: {len(storm.wrong)} answers, the first: {storm.wrong[:5]}"
    assert not prober.failures, prober.failures[:5]
    # The longest one may be this process' own waiting: it has nine threads and one lock.
    assert latencies[int(len(latencies) * 0.99)] < HEALTH_BOUND and latencies[-1] < TIMEOUT
    assert slow.closed == SLOW
    for name, (_, now) in measured.items():
        assert name == "while idle" or now <= descriptors + 5, f"{name}: {now} descriptors, {descriptors} before"
    assert measured["at the end"][0] - before < GROWTH_BOUND, measured
    # And it still does its work.
    assert server.api().call("GET", "/devices")["total"] >= 0
    text = server.log.read_text(errors="replace")
    assert "Fatal error" not in text and "request failed" not in text
