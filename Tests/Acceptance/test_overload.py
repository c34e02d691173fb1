"""Too much for the workers: hosts that swallow every connection keep nobody else waiting, and are seen when they return."""

import socket
import time

from test_fleet import parse
from observing import descriptors
from processes import wait_until

INTERVAL = 5
HEALTHY = 20
#: Connecting to one takes 3 s: at 5 s of interval they want 24 of the default 10 workers.
AWAY = 40


class BlackHole:
    """An address and port where nothing is answered: Linux drops connections that a listener's queue has no room for."""

    def __init__(self, address, port):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wait_until(lambda: self.bind(address, port), 10, f"{address}:{port} is free")
        self.listener.listen(0)
        self.fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((address, port))
            self.fillers.append(filler)

    def bind(self, address, port):
        try:
            self.listener.bind((address, port))
        except OSError:
            return False
        return True

    def close(self):
        for part in [*self.fillers, self.listener]:
            part.close()


def test_hosts_that_are_away_keep_nobody_waiting(start):
    fleet = start.winsim(HEALTHY + AWAY)
    addresses = fleet.addresses
    away = addresses[HEALTHY:]
    # Nobody listens there, so that the black holes can.
    fleet.set_faults([{"hosts": address, "fault": "refused"} for address in away])
    holes = {address: BlackHole(address, fleet.winrm_port) for address in away}
    try:
        server = start.server()
        api = server.api()
        credential = api.credential()
        healthy = [api.add(address, credential, interval=INTERVAL) for address in addresses[:HEALTHY]]
        for device in healthy:
            api.wait_for(device, lambda d: d["status"] == "monitoring", 30, "monitoring")
        began = time.time()
        gone = {address: api.add(address, credential, interval=INTERVAL) for address in away}
        for device in gone.values():
            shown = api.wait_for(device, lambda d: d["status"] == "unreachable", 40, "unreachable")
            assert shown["last_error"]["code"] == "timeout"
        assert descriptors(server.child.process.pid) < 400

        # Back: its next job finds the port open and is a poll.
        returning = away[0]
        holes.pop(returning).close()
        fleet.set_faults([{"hosts": address, "fault": "refused"} for address in away[1:]])
        returned = time.time()
        api.wait_for(
            gone[returning],
            lambda d: d["status"] == "monitoring" and d["last_error"] is None,
            # One interval, and what a busy machine may add.
            2 * INTERVAL,
            "the host is polled again",
        )
        print(f"back after {time.time() - returned:.1f} s at an interval of {INTERVAL} s")

        elapsed = time.time() - began
        for device in healthy:
            inside = [parse(row["timestamp"]) for row in api.rows(device) if parse(row["timestamp"]) >= began]
            assert len(inside) >= elapsed / INTERVAL - 2, f"{len(inside)} polls in {elapsed:.0f} s"
            # No poll left out; a busy machine may begin one late.
            assert max(b - a for a, b in zip(inside, inside[1:])) < 2 * INTERVAL
            assert api.show(device)["last_error"] is None
    finally:
        for hole in holes.values():
            hole.close()
