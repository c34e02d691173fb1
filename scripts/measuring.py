"""What the benchmarks have in common: processes and their costs, the embedded database, and the machine."""

import importlib.metadata
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv" / "bin" / "python"
sys.path.insert(0, str(ROOT / "Tests" / "Acceptance"))

from observing import TICKS, Process, descendants, memory  # noqa: E402


def use_project_python():
    """Starts the running script again with the tests' own Python, which has what starting the processes takes."""
    if PYTHON.exists() and pathlib.Path(sys.prefix).resolve() != PYTHON.parents[1].resolve():
        os.execv(PYTHON, [str(PYTHON), *sys.argv])


def acceptance(bin_directory, products=("nmslite", "winsim")):
    """The acceptance tests' module that starts processes, with executables from a folder, or built for release."""
    folder = pathlib.Path(bin_directory) if bin_directory else ROOT / ".build" / "release"
    if not bin_directory:
        for product in products:
            command = ["swift", "build", "-c", "release", "--product", product]
            subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=True)
    os.environ["NMSLITE_BIN_DIR"] = str(folder.resolve())
    # It reads the environment when it is imported.
    import processes

    return processes


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


# Processes.


#: Under which name a child of nmslite is counted.
SERVERS = {"postgres": "postgres", "nats-server": "nats"}


class Costs:
    """CPU seconds of an instance, of its servers and of the whole machine until now."""

    def __init__(self, nmslite, winsim=None):
        self.at = time.monotonic()
        self.seconds = {"nmslite": Process(nmslite).own, "postgres": 0.0, "nats": 0.0, "guards": 0.0}
        for child in descendants(nmslite):
            self.seconds[SERVERS.get(child.name, "guards")] += child.with_ended
        if winsim:
            self.seconds["winsim"] = Process(winsim).own
        fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        user, nice, system, idle, iowait, irq, softirq, steal = (int(field) / TICKS for field in fields)
        self.machine = user + nice + system + irq + softirq + steal

    def since(self, earlier):
        """Of each, in percent of one core; `others` is whatever else the machine did meanwhile."""
        wall = self.at - earlier.at
        # A child that was restarted begins at zero.
        used = {name: max(0.0, seconds - earlier.seconds.get(name, 0.0)) for name, seconds in self.seconds.items()}
        used["others"] = max(0.0, self.machine - earlier.machine - sum(used.values()))
        return wall, used


def proportional_memory(pids):
    """Bytes of processes that share memory, each shared page counted once."""
    total = 0
    for pid in pids:
        try:
            text = (pathlib.Path("/proc") / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024
    return total


def server_memory(nmslite):
    """Resident bytes of an instance, and the proportional ones of its children."""
    groups = {"postgres": [], "nats": [], "guards": []}
    for child in descendants(nmslite):
        groups[SERVERS.get(child.name, "guards")].append(child.pid)
    return {"nmslite": memory(nmslite)[0], **{name: proportional_memory(pids) for name, pids in groups.items()}}


# The machine.


def first_line(*command):
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines else None


def package_version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine():
    """What the figures were made on, without saying whose it is."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    total = re.search(r"MemTotal:\s+(\d+) kB", pathlib.Path("/proc/meminfo").read_text())
    release = {}
    if pathlib.Path("/etc/os-release").exists():
        for line in pathlib.Path("/etc/os-release").read_text().splitlines():
            key, _, value = line.partition("=")
            release[key] = value.strip('"')
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(total[1]) / 2**20, 1),
        "system": release.get("PRETTY_NAME", platform.system()),
        "kernel": platform.release(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def versions():
    commit = first_line("git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD")
    changed = subprocess.run(
        ["git", "-C", ROOT, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
    ).stdout.strip()
    tools = {
        "commit": f"{commit} with changes" if changed else commit,
        "swift": first_line("swift", "--version"),
        "postgres": first_line("psql", "--version"),
        "nats-server": first_line("nats-server", "--version"),
        "nmap": first_line("nmap", "--version"),
        "h2load": first_line("h2load", "--version"),
    }
    packages = {name: package_version(name) for name in ("pypsrp", "pywinrm", "impacket", "aiowmi")}
    return {**tools, **packages}
