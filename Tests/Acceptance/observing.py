"""What can be seen of running processes and their databases from outside."""

import os
import pathlib
import re
import subprocess

TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """What /proc says of one process."""

    def __init__(self, pid):
        directory = pathlib.Path("/proc") / str(pid)
        fields = (directory / "stat").read_text().rsplit(")", 1)[1].split()
        self.pid = pid
        self.state = fields[0]
        self.parent = int(fields[1])
        #: CPU seconds.
        self.own = (int(fields[11]) + int(fields[12])) / TICKS
        #: With its children that have ended.
        self.with_ended = self.own + (int(fields[13]) + int(fields[14])) / TICKS
        self.arguments = (directory / "cmdline").read_bytes().split(b"\0")

    @property
    def name(self):
        """Of its executable, or what it calls itself (`postgres: checkpointer`) up to the colon."""
        return pathlib.Path(os.fsdecode(self.arguments[0]).split(":")[0].split(" ")[0]).name


def processes():
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield Process(int(entry.name))
            except (OSError, IndexError, ValueError):
                continue


def descendants(pid):
    """The processes below one, parents before their children."""
    tree, found, queue = {}, [], [pid]
    for process in processes():
        tree.setdefault(process.parent, []).append(process)
    while queue:
        for child in tree.get(queue.pop(), []):
            found.append(child)
            queue.append(child.pid)
    return found


def memory(pid):
    """Resident bytes of a process: now, and at its peak."""
    text = (pathlib.Path("/proc") / str(pid) / "status").read_text()
    return tuple(int(re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024 for name in ("VmRSS", "VmHWM"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Database:
    """psql as a superuser: at a socket's directory, or at a host."""

    def __init__(self, host, port=5432):
        self.host = str(host)
        self.port = str(port)

    @classmethod
    def embedded(cls, server):
        return cls(server.data / "postgres" / "socket")

    def run(self, script, timeout=300):
        command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", self.host, "-p", self.port, "-U", "postgres"]
        done = subprocess.run(
            [*command, "-d", "nmslite"], input=script, text=True, capture_output=True, timeout=timeout
        )
        assert done.returncode == 0, f"psql: {done.stderr.strip()}"
        return done.stdout

    def value(self, query):
        return self.run(query).strip()

    def rows(self, query):
        return [line.split("|") for line in self.run(query).splitlines()]
