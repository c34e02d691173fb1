"""Starts nmslite and winsim as a user would, and ends them."""

import itertools
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import requests
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("NMSLITE_BIN_DIR", ROOT / ".build" / "debug"))

#: Passwords that tests use; none of them may ever stand in a log.
ADMIN_PASSWORD = "Adm1n-acceptance-7hWq"
HOST_PASSWORD = "H0st-acceptance-x9Tz"
WRONG_PASSWORD = "Wr0ng-acceptance-k2Lm"

_networks = itertools.count(1)


def use_networks_of(worker):
    """Fleets of several processes that test at the same time lie apart."""
    global _networks
    _networks = itertools.count(1 + 2000 * worker)


def free_port():
    # On every address: the hosts of a fleet have ports of the ephemeral range on addresses of their own.
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return probe.getsockname()[1]


def wait_until(condition, timeout, what, interval=0.2):
    """Waits for condition() to be truthy and returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(interval)


class Child:
    """A process with its output in a file."""

    def __init__(self, arguments, log, environment=None):
        self.log = pathlib.Path(log)
        self.stream = open(self.log, "ab")
        self.process = subprocess.Popen(
            [str(a) for a in arguments],
            stdin=subprocess.DEVNULL,
            stdout=self.stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=self.log.parent,
        )

    @property
    def output(self):
        return self.log.read_text(errors="replace")

    def terminate(self, timeout=20):
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"did not stop within {timeout} s:\n{self.output[-4000:]}")
        finally:
            self.stream.close()

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        self.stream.close()


class Folder:
    """A temporary folder that the children's own user can enter, too."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="nmslite-test-"))
        self.path.chmod(0o711)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Winsim:
    """A simulated fleet on a network of its own."""

    def __init__(
        self, folder, hosts, *extra, faults=None, static=False, seed=7, password=HOST_PASSWORD, domain=None, dcom=False
    ):
        number = next(_networks)
        self.base = f"127.{100 + number // 200}.{number % 200 + 1}.1"
        self.hosts = hosts
        self.truth = f"http://127.0.0.1:{free_port()}"
        self.winrm_port = 5985
        self.winrms_port = 5986
        #: 135 needs root, and nobody who tests WinRM alone needs it.
        self.epm_port = (135 if os.geteuid() == 0 else free_port()) if dcom else 0
        self.password = password
        self.ca_file = folder / f"winsim-ca-{number}.pem"
        arguments = [
            BIN / "winsim",
            "--hosts", hosts,
            "--base-address", self.base,
            "--user", "monitor",
            "--truth-port", self.truth.rsplit(":", 1)[1],
            "--epm-port", self.epm_port,
            "--seed", seed,
            "--ca-out", self.ca_file,
            *extra,
        ]  # fmt: skip
        if domain:
            arguments += ["--domain", domain]
        if static:
            arguments.append("--static")
        if faults is not None:
            file = folder / f"faults-{number}.yaml"
            file.write_text(yaml.safe_dump(faults))
            arguments += ["--faults", file]
        self.child = Child(arguments, folder / f"winsim-{number}.log", {"WINSIM_PASSWORD": password})
        wait_until(self._ready, 60, f"winsim ready:\n{self.child.output[-2000:]}")

    def _ready(self):
        if self.child.process.poll() is not None:
            raise AssertionError(f"winsim ended at once:\n{self.child.output[-4000:]}")
        try:
            return requests.get(f"{self.truth}/hosts", timeout=5).ok
        except requests.RequestException:
            return False

    def address(self, index):
        a, b, c, d = (int(part) for part in self.base.split("."))
        value = (a << 24) + (b << 16) + (c << 8) + d + index
        return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))

    @property
    def addresses(self):
        return [self.address(index) for index in range(self.hosts)]

    def state(self, address, since=None, until=None):
        """The truth at `until` (now by default) and mean rates since `since`."""
        parameters = {}
        if since:
            parameters = {"from": since, "to": until}
        answer = requests.get(f"{self.truth}/hosts/{address}", params=parameters, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def set_faults(self, faults):
        answer = requests.put(f"{self.truth}/faults", data=yaml.safe_dump(faults), timeout=10)
        assert answer.ok, answer.text

    def stop(self):
        self.child.terminate()


class Server:
    """nmslite with a data directory of its own."""

    #: Every log that a server wrote in this session, for the search for secrets.
    logs = []

    def __init__(self, folder, *arguments, environment=None, name="nmslite"):
        self.folder = folder
        self.data = folder / f"{name}-data"
        self.port = free_port()
        self.arguments = arguments
        self.environment = {"NMSLITE_ADMIN_PASSWORD": ADMIN_PASSWORD, **(environment or {})}
        self.log = folder / f"{name}.log"
        Server.logs.append(self.log)
        self.child = None

    def command(self, *arguments):
        return [BIN / "nmslite", *arguments, "--data_dir", self.data]

    def start(self, timeout=60):
        self.child = Child(
            self.command("serve", "--server.port", self.port, "--log.level", "debug", *self.arguments),
            self.log,
            self.environment,
        )
        wait_until(self._ready, timeout, "nmslite ready")
        return self

    def _ready(self):
        if self.child.process.poll() is not None:
            raise AssertionError(f"nmslite ended at once:\n{self.child.output[-6000:]}")
        try:
            return requests.get(f"{self.url}/health", verify=self.certificate, timeout=5).ok
        except (requests.RequestException, OSError):
            return False

    @property
    def url(self):
        return f"https://localhost:{self.port}"

    @property
    def certificate(self):
        return str(self.data / "tls" / "server.crt")

    def stop(self):
        return self.child.terminate()

    def api(self, username="admin", password=ADMIN_PASSWORD):
        return Api(self).login(username, password)

    def log_lines(self):
        return self.log.read_text(errors="replace").splitlines()


class Api:
    """The HTTP API, with the envelope checked on every answer."""

    def __init__(self, server):
        self.server = server
        self.session = requests.Session()
        # A CA bundle in the environment would replace the server's own certificate.
        self.session.trust_env = False
        self.session.verify = server.certificate

    def login(self, username, password):
        tokens = self.call("POST", "/auth/login", {"username": username, "password": password})
        self.tokens = tokens
        self.session.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        return self

    def request(self, method, path, body=None, params=None):
        return self.session.request(
            method, f"{self.server.url}/api/v1{path}", json=body, params=params, timeout=30
        )

    def call(self, method, path, body=None, params=None, status=None):
        answer = self.request(method, path, body, params)
        document = answer.json()
        assert answer.headers["X-Request-ID"]
        if status is None:
            assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        else:
            assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        assert document["success"] is answer.ok
        return document["data"] if answer.ok else document["error"]

    # What nearly every test does.

    def credential(self, name="fleet", password=HOST_PASSWORD, **fields):
        body = {"name": name, "credential_type": "winrm_ntlm", "username": "monitor", "password": password, **fields}
        return self.call("POST", "/credentials", body, status=201)["id"]

    def device(self, ip, **fields):
        return self.call("POST", "/devices", {"ip": ip, **fields}, status=201)["id"]

    def provision(self, device, credential, **fields):
        return self.call("POST", f"/devices/{device}/provision", {"credential_id": credential, **fields})

    def add(self, ip, credential, interval=10, **fields):
        device = self.device(ip, **fields)
        self.provision(device, credential, polling_interval=interval)
        return device

    def show(self, device):
        return self.call("GET", f"/devices/{device}")

    def metrics(self, device, timeout=15):
        """The latest row, as soon as there is one."""

        def look():
            answer = self.request("GET", f"/devices/{device}/metrics")
            assert answer.status_code in (200, 404), answer.text
            return answer.json()["data"] if answer.ok else None

        return wait_until(look, timeout, f"metrics of device {device}; {self.show(device)}")

    def rows(self, device, **parameters):
        parameters = {"interval": "raw", "limit": 10000, **parameters}
        history = self.call("GET", f"/devices/{device}/metrics/history", params=parameters)
        assert history["interval"] == "raw" and history["truncated"] is False
        return history["points"]

    def wait_for(self, device, condition, timeout, what):
        def look():
            shown = self.show(device)
            return shown if condition(shown) else None

        return wait_until(look, timeout, f"{what}; {self.show(device)}")


def children_of(pattern):
    """Process ids whose command line matches."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if re.search(pattern, line):
                found.append(int(entry.name))
    return found
