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
TICKS = os.sysconf("SC_CLK_TCK")


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
    sys.path.insert(0, str(ROOT / "Tests" / "Acceptance"))
    import processes

    return processes


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


# Processes.


class Process:
    """What /proc says of one process."""

    def __init__(self, pid):
        directory = pathlib.Path("/proc") / str(pid)
        fields = (directory / "stat").read_text().rsplit(")", 1)[1].split()
        self.pid = pid
        self.parent = int(fields[1])
        self.state = fields[0]
        self.own = (int(fields[11]) + int(fields[12])) / TICKS
        #: With its children that have ended.
        self.with_ended = self.own + (int(fields[13]) + int(fields[14])) / TICKS
        self.arguments = (directory / "cmdline").read_bytes().split(b"\0")

    @property
    def name(self):
        return pathlib.Path(os.fsdecode(self.arguments[0]).split(":")[0].split(" ")[0]).name


def process_tree():
    """Every process, by its parent."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                process = Process(int(entry.name))
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(process.parent, []).append(process)
    return children


def descendants(pid):
    """The processes below one, children before their own children."""
    tree, found, queue = process_tree(), [], [pid]
    while queue:
        for child in tree.get(queue.pop(), []):
            found.append(child)
            queue.append(child.pid)
    return found


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


def memory(pid):
    """Resident bytes of a process: now, and at its peak."""
    text = (pathlib.Path("/proc") / str(pid) / "status").read_text()
    return tuple(int(re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024 for name in ("VmRSS", "VmHWM"))


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


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


# The embedded database.


class Database:
    """psql as a superuser, by the socket of a server's embedded PostgreSQL."""

    def __init__(self, server):
        self.socket = server.data / "postgres" / "socket"

    def run(self, script, timeout=300):
        command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", str(self.socket), "-U", "postgres"]
        done = subprocess.run(
            [*command, "-d", "nmslite"], input=script, text=True, capture_output=True, timeout=timeout
        )
        if done.returncode:
            raise RuntimeError(f"psql: {done.stderr.strip()}")
        return done.stdout

    def value(self, query):
        return self.run(query).strip()

    def rows(self, query):
        return [line.split("|") for line in self.run(query).splitlines()]


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
