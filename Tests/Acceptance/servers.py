"""A PostgreSQL and a NATS that belong to nobody's nmslite, for instances that share them."""

import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import time

from observing import Database
from processes import Child, Server, free_port, wait_until


class ExternalPostgres:
    """A PostgreSQL on loopback, perhaps on a disk of its own.

    As root it runs as `postgres`, since it refuses to run as root.
    """

    def __init__(self, folder, *settings, disk=None):
        self.directory = (disk or folder) / "external-postgres"
        self.directory.mkdir(mode=0o700)
        self.log = folder / "external-postgres.log"
        self.port = free_port()
        self.settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self.directory}", *settings]
        found = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True)
        self.binaries = pathlib.Path(found.stdout.strip())
        self.prefix = []
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres")
            self.prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self.database = Database("127.0.0.1", self.port)
        self.child = None
        data = self.directory / "data"
        subprocess.run(
            [
                *self.prefix, self.binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                "--locale=C.UTF-8",
            ],
            cwd=self.directory, check=True, capture_output=True,
        )  # fmt: skip
        self.start()
        for command in ("CREATE ROLE nmslite LOGIN", "CREATE DATABASE nmslite OWNER nmslite"):
            self._psql("postgres", command)

    def _psql(self, database, command):
        return subprocess.run(
            [
                "psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database,
                "-c", command,
            ],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip

    def _ready(self):
        assert self.child.process.poll() is None, f"PostgreSQL ended at once:\n{self.child.output[-2000:]}"
        done = subprocess.run(
            [self.binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], timeout=10
        )
        return done.returncode == 0

    def start(self):
        options = [part for setting in self.settings for part in ("-c", setting)]
        command = [self.binaries / "postgres", "-D", self.directory / "data", "-p", self.port, *options]
        self.child = Child([*self.prefix, *command], self.log)
        wait_until(self._ready, 30, "PostgreSQL ready")
        return self

    def stop(self, fast=True):
        """SIGINT, which ends sessions; or SIGQUIT, which leaves the rest to the recovery at the next start."""
        if self.child.process.poll() is None:
            self.child.process.send_signal(signal.SIGINT if fast else signal.SIGQUIT)
            self.child.process.wait(30)
        self.child.stream.close()

    @property
    def arguments(self):
        return ["--database.host", "127.0.0.1", "--database.port", self.port, "--database.sslmode", "disable"]


class ExternalNATS:
    """A nats-server with JetStream on loopback."""

    def __init__(self, folder):
        self.store = folder / "external-nats"
        self.log = folder / "external-nats.log"
        self.port = free_port()
        self.child = None
        self.start()

    def start(self):
        command = ["nats-server", "-a", "127.0.0.1", "-p", self.port, "-js", "-sd", self.store]
        # What earlier starts wrote is not about this one.
        seen = self.log.stat().st_size if self.log.exists() else 0
        self.child = Child(command, self.log)
        wait_until(lambda: b"Server is ready" in self.log.read_bytes()[seen:], 20, "nats-server ready")
        return self

    def stop(self):
        if self.child.process.poll() is None:
            self.child.process.terminate()
            self.child.process.wait(20)
        self.child.stream.close()

    def lose_storage(self):
        shutil.rmtree(self.store)

    @property
    def arguments(self):
        return ["--queue.embedded", "false", "--queue.url", f"nats://127.0.0.1:{self.port}"]


#: What instances of one external database must be given; none may stand in a log.
SECRETS = {"NMSLITE_JWT_SECRET": secrets.token_hex(32), "NMSLITE_MASTER_KEY": secrets.token_hex(32)}


def external_instance(folder, *services, arguments=(), name="nmslite"):
    """An instance, not started, that uses the given services of others."""
    options = [part for service in services for part in service.arguments]
    needs_secrets = any(isinstance(service, ExternalPostgres) for service in services)
    return Server(folder, *options, *arguments, environment=SECRETS if needs_secrets else None, name=name)


def freeze(pids, seconds):
    """Stops processes for a moment, as a machine does that swaps or whose disk hangs."""
    stopped = []
    try:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
            except ProcessLookupError:
                continue
        time.sleep(seconds)
    finally:
        for pid in stopped:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
