"""The Debian package: installed, run as its unit says, diagnosed, removed; on a copy of this machine that vanishes after."""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import time

import pytest

from processes import BIN, HOST_PASSWORD, ROOT, free_port, wait_until

BUILD = os.environ.get("NMSLITE_RELEASE_BUILD")
#: Seconds that the release build may take from here.
LIMIT = 1500

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="installing packages needs root")


class Machine:
    """This machine with a layer over its files, in a mount namespace of its own; nothing of it stays."""

    def __init__(self, folder):
        self.layer = folder / "machine"
        self.layer.mkdir()
        script = """
            set -e
            mount -t tmpfs -o mode=755 tmpfs "$1"
            mkdir "$1/upper" "$1/work" "$1/root"
            mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
            mount -t proc proc "$1/root/proc"
            mount --rbind /dev "$1/root/dev"
            mount -t tmpfs tmpfs "$1/root/run"
            echo ready
            exec sleep infinity
        """
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script, "sh", self.layer], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        if self.holder.stdout.readline() != "ready\n":
            self.holder.kill()
            pytest.skip(f"no layer over the file system can be made here: {self.holder.stderr.read()}")

    def command(self, *arguments):
        prefix = ["nsenter", "--mount", "--target", self.holder.pid, "chroot", self.layer / "root"]
        return [str(part) for part in (*prefix, *arguments)]

    def run(self, *arguments, status=0, **options):
        finished = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=180, **options)
        assert status is None or finished.returncode == status, finished.stdout + finished.stderr
        return finished.stdout + finished.stderr

    def files(self):
        """Everything with its name, but for what a kernel or this test put there."""
        found = self.run("find", "/usr", "/etc", "/var", "/lib", "-xdev", "-name", "*nmslite*", status=None)
        # systemd-analyze looks at man pages, which are kept formatted then.
        return {line for line in found.split("\n") if line.startswith("/") and not line.startswith("/var/cache/man/")}

    def end(self):
        self.holder.kill()
        self.holder.wait(10)


@pytest.fixture
def machine(folder):
    machine = Machine(folder)
    yield machine
    machine.end()


@pytest.fixture
def package(tmp_path):
    """Of the release build that scripts/test began, or of whatever build is tested."""
    binaries = BIN
    if BUILD:
        build = pathlib.Path(BUILD)
        wait_until((build / "status").exists, LIMIT, "the end of the release build", interval=1)
        assert (build / "status").read_text().strip() == "0", (build / "log").read_text(errors="replace")[-3000:]
        binaries = pathlib.Path((build / "bin").read_text().strip())
    command = [ROOT / "scripts" / "package", "--fast", "--output", tmp_path, "--bin", binaries]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    return pathlib.Path(finished.stdout.strip())


def unit():
    """Settings of the unit's section Service; the last of a name."""
    return dict(re.findall(r"^(\w+)=(.*)$", (ROOT / "packaging" / "nmslite.service").read_text(), re.MULTILINE))


def test_installed_running_diagnosed_removed(start, folder, machine, package):
    facts = subprocess.run(["dpkg-deb", "--info", package], capture_output=True, text=True, check=True).stdout
    for dependency in ("libpq5", "libnats3.4", "nats-server", "postgresql-15", "adduser"):
        assert dependency in facts
    before = machine.files()
    subprocess.run(machine.command("sh", "-c", "cat > /tmp/nmslite.deb"), stdin=open(package, "rb"), check=True)
    assert "initial-admin-password" in machine.run("dpkg", "--install", "/tmp/nmslite.deb")
    if BUILD:
        assert "libswift" not in machine.run("ldd", "/usr/bin/nmslite")
    verified = machine.run("systemd-analyze", "verify", "/lib/systemd/system/nmslite.service")
    assert "nmslite" not in verified, verified

    # As the unit does it: its user, without privileges, and what /etc/default says.
    settings = unit()
    port = free_port()
    machine.run("sh", "-c", f"echo NMSLITE_SERVER_PORT={port} >> /etc/default/nmslite")
    started = shlex.split(settings["ExecStart"])
    prefix = [
        "setpriv", "--reuid", settings["User"], "--regid", settings["Group"], "--init-groups", "--no-new-privs",
        "--bounding-set=-all", "--inh-caps=-all",
    ]  # fmt: skip
    service = "set -a; . /etc/default/nmslite; set +a; umask " + settings["UMask"] + "; cd /; exec " + shlex.join(
        prefix + started
    )
    log = open(folder / "service.log", "wb")
    process = subprocess.Popen(machine.command("sh", "-c", service), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        check_service(start, machine, process, port, folder)
    finally:
        if process.poll() is None:
            process.kill()
        log.close()

    machine.run("dpkg", "--remove", "nmslite")
    left = machine.files() - before
    assert not [path for path in left if path.startswith(("/usr", "/lib"))], left
    assert {"/etc/default/nmslite", "/etc/nmslite"} <= left
    assert "is kept" in machine.run("dpkg", "--purge", "nmslite")
    left = {path for path in machine.files() - before if not path.startswith("/var/lib/nmslite/")}
    assert left == {"/var/lib/nmslite"}


def check_service(start, machine, process, port, folder):
    def ready():
        assert process.poll() is None, (folder / "service.log").read_text(errors="replace")[-3000:]
        probe = machine.command("curl", "-fsS", "--cacert", "/var/lib/nmslite/tls/server.crt", f"https://localhost:{port}/health")
        return subprocess.run(probe, capture_output=True, timeout=10).returncode == 0

    wait_until(ready, 60, "the service is healthy")
    password = machine.run("stat", "--format", "%U %a", "/var/lib/nmslite/initial-admin-password")
    assert password == "nmslite 600\n"
    fleet = start.winsim(1)

    def client(*arguments, **options):
        return machine.run("env", "XDG_STATE_HOME=/tmp/state", "nmslite", *arguments, **options)

    client("login", f"https://localhost:{port}", "--password-file", "/var/lib/nmslite/initial-admin-password")
    client("credentials", "add", "windows", "--user", "monitor", input=HOST_PASSWORD + "\n")
    assert "polls will work" in client("doctor", fleet.address(0), "--credential", "windows")
    client("devices", "add", fleet.address(0), "--credential", "windows", "--interval", "5")
    wait_until(lambda: "CPU" in client("metrics", fleet.address(0), status=None), 20, "a row of real numbers", interval=1)
    began = time.monotonic()
    pid = int(machine.run("pgrep", "--oldest", "--full", "^/usr/bin/nmslite serve").split()[0])
    os.kill(pid_outside(process, pid), signal.SIGTERM)
    assert process.wait(30) == 0
    assert time.monotonic() - began < 15


def pid_outside(process, pid):
    """The namespace of processes is shared: the number is the same."""
    assert pathlib.Path(f"/proc/{pid}").exists() and process.poll() is None
    return pid
