"""Talks HTTP to a simulated host over plain sockets and tells what came back, byte by byte.

Reads a job in JSON from standard input: host, port, steps. A step is {send: text, wait: seconds} (text goes out on the
connection as it is), {connect: true} (a new connection) or {idle: seconds}. Writes JSON: one result for each step:
{head, body_length, body, chunked, state}, where state is open, closed, reset, refused or silent.
"""

import json
import socket
import sys
import time


class Connection:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=5)
        self.rest = b""

    def receive(self, wait):
        """One answer, or what there is of it."""
        data, state, deadline = self.rest, "open", time.monotonic() + wait
        while not self.is_whole(data):
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                part = self.socket.recv(65536)
            except TimeoutError:
                state = "silent"
                break
            except ConnectionResetError:
                state = "reset"
                break
            if not part:
                state = "closed"
                break
            data += part
        if state == "open":
            state = self.state()
        head, _, body = data.partition(b"\r\n\r\n")
        self.rest = b""
        return {
            "head": head.decode("latin-1"),
            "body": body.decode("latin-1")[:4096],
            "body_length": len(body),
            "chunked": b"transfer-encoding: chunked" in head.lower(),
            "state": state,
        }

    @staticmethod
    def is_whole(data):
        head, found, body = data.partition(b"\r\n\r\n")
        if not found:
            return False
        fields = dict(
            (line.split(b":", 1)[0].strip().lower(), line.split(b":", 1)[1].strip())
            for line in head.split(b"\r\n")[1:]
            if b":" in line
        )
        if b"content-length" in fields:
            return len(body) >= int(fields[b"content-length"])
        return b"transfer-encoding" in fields and body.endswith(b"0\r\n\r\n")

    def state(self):
        """Whether the host closes the connection within a moment."""
        self.socket.settimeout(0.3)
        try:
            part = self.socket.recv(1)
        except TimeoutError:
            return "open"
        except ConnectionResetError:
            return "reset"
        self.rest = part
        return "open" if part else "closed"


def run(job):
    connection = None
    for step in job["steps"]:
        try:
            if connection is None or step.get("connect"):
                connection = Connection(job["host"], job["port"])
            if "idle" in step:
                time.sleep(step["idle"])
                yield {"state": connection.state()}
            elif "send" in step:
                connection.socket.sendall(step["send"].encode("latin-1"))
                yield connection.receive(step.get("wait", 5))
            else:
                yield {"state": "open"}
        except ConnectionRefusedError:
            yield {"state": "refused"}
        except (ConnectionResetError, BrokenPipeError):
            yield {"state": "reset"}


def main():
    json.dump(list(run(json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
