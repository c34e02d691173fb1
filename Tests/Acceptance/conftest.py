import ctypes
import fcntl
import os
import re
import socket
import struct

import pytest

import processes
from processes import ADMIN_PASSWORD, HOST_PASSWORD, WRONG_PASSWORD, Folder, Server, Winsim


LONGEST = [
    "test_fleet.py", "test_faults.py", "test_outages.py", "test_crash.py", "test_wmi.py", "test_instances.py",
    "test_nats_cluster.py", "test_history.py", "test_openapi.py", "test_hostile.py", "test_keys.py",
]  # fmt: skip
AFTER_THE_BUILD = ("test_package.py", "test_release.py")
#: unshare(2), netdevice(7)
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP, IFF_RUNNING = 0x1, 0x40


def pytest_configure(config):
    """Tests that run beside others have loopback to themselves: addresses, ports and the kernel's counters.

    Where that is not allowed, fleets of different workers at least have different addresses.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        return
    processes.use_networks_of(int(worker.removeprefix("gw")))
    if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:
        with socket.socket() as control:
            request = struct.pack("16sh", b"lo", IFF_UP | IFF_RUNNING)
            fcntl.ioctl(control, SIOCSIFFLAGS, request)


def pytest_collection_modifyitems(items):
    """The longest files first, so that two workers end together; what waits for the release build last."""
    order = {name: place for place, name in enumerate(LONGEST)} | {name: len(items) for name in AFTER_THE_BUILD}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


@pytest.fixture
def folder():
    folder = Folder()
    yield folder.path
    folder.remove()


@pytest.fixture
def start(folder, request):
    """Starts servers and fleets; whatever still runs at the end is stopped, and every log searched for secrets."""
    started = []

    class Start:
        @staticmethod
        def winsim(hosts, *extra, **options):
            fleet = Winsim(folder, hosts, *extra, **options)
            started.append(fleet)
            return fleet

        @staticmethod
        def server(*arguments, **options):
            server = Server(folder, *arguments, **options)
            started.append(server)
            return server.start()

    yield Start
    for process in reversed(started):
        if process.child is not None and process.child.process.poll() is None:
            process.stop()
    for process in started:
        if isinstance(process, Server):
            assert_no_secrets(process)


def assert_no_secrets(server):
    """No password, token, key or authorization header stands in a server's log, at debug level."""
    text = server.log.read_text(errors="replace")
    secrets = {ADMIN_PASSWORD, HOST_PASSWORD, WRONG_PASSWORD}
    for file in (server.data / "secrets").glob("*") if (server.data / "secrets").exists() else []:
        secrets.add(file.read_text(errors="replace").strip())
    nats = server.data / "nats" / "nats-server.conf"
    if nats.exists():
        token = re.search(r"token:\s*\"?([^\s\"}]+)", nats.read_text())
        assert token and len(token.group(1)) >= 20, "the embedded server's token is not where it is looked for"
        secrets.add(token.group(1))
    for secret in secrets:
        assert secret and secret not in text, f"a secret stands in {server.log.name}"
    for mark in ("eyJ", "Bearer ", "Authorization:", "TlRMTVNTUA", "password=", "\"password\":\""):
        assert mark not in text, f"{mark!r} stands in {server.log.name}"
