"""A WMI/DCOM host made of third-party parts, for our client to be held against.

impacket's structures and functions accept logins, take requests apart and put answers together. One argument: options
in JSON (`Options` below, `account` as DOMAIN:user:password is needed). The first line on standard output is
`{"port": …}`; when standard input ends the server stops and writes a summary in JSON: what was asked, the references
that the client still holds, and everything that was odd. It also ends by itself after two minutes.
"""

import dataclasses
import json
import re
import signal
import socket
import sys
import threading
import traceback
import uuid
from collections import Counter

import dcom_objects as objects
from dcom_rpc import Connection
from dcom_tables import tables

TIME_LIMIT_SECONDS = 120


@dataclasses.dataclass
class Options:
    account: str
    address: str = "127.0.0.1"
    port: int = 0
    max_frag: int = 5840
    fragment_body: int = 0  # at most so many bytes of stub in a fragment, 0 for what fits
    padding: int = 16  # of the stub in protected answers
    header_sign: bool = True
    minimum_level: int = 5
    authn_hint: int = 4
    anonymous_pings: bool = True
    late_interfaces: bool = False  # none but the login in a bind; the others only by alter_context
    smart: bool = True
    refuse_in_results: bool = False  # RemQueryInterface succeeds as a call even when it found nothing
    names_only: bool = False  # bindings without addresses
    batch: int = 1000  # rows in an answer, whatever was asked
    early_end: bool = False  # WBEM_S_FALSE with the last rows, not after them
    # {"at": step, "skip": n, "do": "status" | "fault" | "close" | "reset" | "silence" | "spoil" | "nak",
    # "value": status, "what": "signature" | "sequence" | "body", "always": bool}; steps are methods (dcom_objects.py),
    # "bind" and "alter_context"
    faults: list = dataclasses.field(default_factory=list)


class State:
    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()
        self.counts, self.calls, self.levels = Counter(), [], {}
        self.oddities, self.refusals, self.activations = [], [], []
        self.queries, self.query_flags, self.namespaces, self.batches = [], [], [], []
        self.tables, self.class_ids = tables(), {}
        self.remaining = [dict(fault) for fault in options.faults]

    def odd(self, text):
        if text not in self.oddities:
            self.oddities.append(text)

    def note(self, name):
        self.counts[name] += 1

    def refused(self, reason):
        self.note("failed_logins")
        self.refusals.append(reason)

    def count_received(self, size):
        self.counts["bytes_received"] += size

    def count_sent(self, size):
        self.counts["bytes_sent"] += size

    def called(self, name, level):
        self.calls.append(name)
        self.levels[name] = level

    def activated(self, asked):
        self.activations.append(asked)

    def fault(self, step):
        """The fault that is due at this step now."""
        for fault in self.remaining:
            if fault["at"] != step:
                continue
            if fault.get("skip", 0) > 0:
                fault["skip"] -= 1
                continue
            if not fault.get("always"):
                self.remaining.remove(fault)
            return fault
        return None

    @staticmethod
    def name(interface):
        for name, value in vars(objects).items():
            if value == interface:
                return name
        return interface

    def class_id(self, name):
        return self.class_ids.setdefault(name, str(uuid.uuid4()))

    def select(self, query):
        """Table, rows and status of a query; conditions are equality with a text or a number."""
        match = re.fullmatch(r"\s*SELECT\s+(.+?)\s+FROM\s+(\w+)(?:\s+WHERE\s+(\w+)\s*=\s*(\S+))?\s*", query, re.I)
        if not match:
            return None, [], objects.INVALID_QUERY
        table = self.tables.get(match[2].lower())
        if table is None:
            return None, [], objects.INVALID_CLASS
        rows = table.rows
        if match[3]:
            rows = [row for row in rows if str(row.get(match[3])) == match[4].strip("'\"")]
        return table.selected([name.strip() for name in match[1].split(",")]), list(rows), 0

    def truth(self):
        return {table.name: [table.truth(row) for row in table.rows] for table in self.tables.values()}

    def summary(self, exporter):
        return {
            "counts": dict(self.counts),
            "calls": self.calls,
            "levels": self.levels,
            "queries": self.queries,
            "query_flags": self.query_flags,
            "namespaces": self.namespaces,
            "batches": self.batches,
            "activations": self.activations,
            "oddities": self.oddities,
            "refusals": self.refusals,
            "leaked": exporter.leaked(),
            "truth": self.truth(),
        }


def listen(address, port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(64)
    return sock


class Server:
    def __init__(self, options):
        self.state = State(options)
        self.exporter = objects.Exporter(self.state, options.address)
        self.threads = []
        mapper, exporter = listen(options.address, options.port), listen(options.address, 0)
        self.port = mapper.getsockname()[1]
        self.exporter.listen_at(exporter.getsockname()[1])
        self.serve(mapper, "mapper", objects.MAPPER_INTERFACES)
        self.serve(exporter, "exporter", objects.OBJECT_INTERFACES)

    def serve(self, listener, name, interfaces):
        def accept():
            while True:
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.state.note("connections")
                start(lambda: self.talk(Connection(sock, self.state, name, interfaces, self.call)))

        start(accept)

    def talk(self, connection):
        try:
            connection.run()
        except Exception as error:  # what the server cannot take is a finding, too
            traceback.print_exc()
            self.state.odd("the server failed: %s: %s" % (type(error).__name__, error))
            connection.sock.close()

    def call(self, *arguments):
        with self.state.lock:
            return self.exporter.call(*arguments)


def start(body):
    threading.Thread(target=body, daemon=True).start()


def main():
    signal.alarm(TIME_LIMIT_SECONDS)
    options = Options(**json.loads(sys.argv[1]))
    server = Server(options)
    print(json.dumps({"port": server.port}), flush=True)
    sys.stdin.read()
    print(json.dumps(server.state.summary(server.exporter)), flush=True)


if __name__ == "__main__":
    main()
