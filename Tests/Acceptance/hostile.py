"""Hostile clients: raw bytes over TCP, TLS, HTTP/1 and HTTP/2, all from a seed."""

import base64
import json
import random
import socket
import ssl
import struct
import time

#: What a well-behaved server has answered long before.
TIMEOUT = 20

PATHS = [
    "/health", "/api/v1/health", "/api/v1/devices", "/api/v1/devices/1", "/api/v1/devices/1/metrics",
    "/api/v1/devices/1/metrics/history", "/api/v1/devices/1/provision", "/api/v1/devices/1/poll",
    "/api/v1/credentials", "/api/v1/credentials/1", "/api/v1/credentials/1/resume", "/api/v1/auth/login",
    "/api/v1/auth/refresh", "/api/v1/audit", "/api/v1/openapi.json", "/metrics", "/", "/nothing", "*",
]  # fmt: skip
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "\x00", ""]
BODIES = [
    {"ip": "192.0.2.1"},
    {"ip": "192.0.2.1", "hostname": "h", "os": "o", "polling_interval": 60},
    {"name": "c", "credential_type": "winrm_ntlm", "username": "u", "password": "hostile", "port": 5985},
    {"credential_id": 1, "polling_interval": 10},
    {"username": "nobody", "password": "hostile"},
    {"refresh_token": "x" * 43},
]
VALUES = [
    None, True, -1, 0, 2**31, 2**63, 2**64, 1e308, -0.0, "", "\x00", "\u202e", "x" * 5000, "' OR 1=1 --", "%s%n",
    "../../etc/passwd", "${jndi:ldap://x}", [], {}, [[]] * 50, {"": None}, "127.0.0.1", "::1", "0x7f.1",
    "１２７.0.0.1",
]  # fmt: skip


def tls_context(alpn=None, certificate=None):
    context = ssl.create_default_context(cafile=certificate)
    if certificate is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body


class Connection:
    """One connection over TLS that reads answers of HTTP/1.1 itself: client libraries refuse to send nonsense."""

    CONTEXT = tls_context(["http/1.1"])

    def __init__(self, port):
        raw = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.socket = self.CONTEXT.wrap_socket(raw, server_hostname="localhost")
        self.buffer = b""

    def close(self):
        self.socket.close()

    def _fill(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def read(self, method="GET"):
        """The next answer."""
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.split(b"\r\n")
        version, status = lines[0].split(b" ")[:2]
        assert version == b"HTTP/1.1", head
        fields = {}
        for line in lines[1:]:
            name, value = line.split(b":", 1)
            fields[name.decode().lower()] = value.strip().decode()
        if status == b"100":
            return self.read(method)
        length = 0 if method == "HEAD" else int(fields.get("content-length", 0))
        while len(self.buffer) < length:
            self._fill()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Answer(int(status), fields, body)


class Generator:
    """Requests and frames from one seed."""

    def __init__(self, seed, token):
        self.random = random.Random(seed)
        self.token = token

    def noise(self, most=200):
        return self.random.randbytes(self.random.randrange(most + 1))

    def mutated(self, data):
        """A few bytes changed, dropped, doubled or inserted."""
        data = bytearray(data)
        for _ in range(self.random.randrange(1, 5)):
            position = self.random.randrange(len(data) + 1)
            action = self.random.randrange(4)
            if action == 0 and position < len(data):
                data[position] = self.random.randrange(256)
            elif action == 1:
                del data[position : position + self.random.randrange(8)]
            elif action == 2:
                data[position:position] = data[position : position + self.random.randrange(64)]
            else:
                data[position:position] = self.noise(16)
        return bytes(data)

    def _token(self):
        kind = self.random.randrange(7)
        if kind < 3:
            return self.token
        if kind == 3:
            return self.mutated(self.token.encode()).decode("latin-1").replace("\r", "").replace("\n", "")
        header, claims, signature = self.token.split(".")
        none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
        if kind == 4:
            return f"{none}.{claims}."
        if kind == 5:
            return f"{header}.{self.random.choice([none, claims[::-1], claims + 'A'])}.{signature}"
        return "A" * self.random.randrange(9000)

    def _body(self):
        kind = self.random.randrange(8)
        if kind == 0:
            return self.noise(2000)
        if kind == 1:
            return b"[" * self.random.randrange(100_000)
        if kind == 2:
            return b'{"ip":"' + b"x" * self.random.choice([10, 10_000, 1 << 20, 2 << 20]) + b'"}'
        if kind == 3:
            return b'{"ip":1,"ip":2}'
        body = dict(self.random.choice(BODIES))
        for _ in range(self.random.randrange(4)):
            body[self.random.choice([*body, "x", "__proto__", "\x00"])] = self.random.choice(VALUES)
        data = json.dumps(body, ensure_ascii=self.random.random() < 0.5).encode("utf-8", "surrogatepass")
        return self.mutated(data) if kind == 4 else data

    def _path(self):
        path = self.random.choice(PATHS)
        kind = self.random.randrange(8)
        if kind == 0:
            path += "?" + self.random.choice(
                ["limit=-1", "limit=99999999999999999999", "offset=%zz", "sort=%00", "search=" + "%41" * 900, "&&&=&=",
                 "from=9999-99-99T99:99:99Z", "interval=raw&interval=1h", "x=" + "y" * 9000]
            )  # fmt: skip
        elif kind == 1:
            path = path.replace("1", self.random.choice(["0", "-1", "2147483648", "%31", "1%00", "१", "1e1", "NaN"]))
        elif kind == 2:
            path += self.random.choice(["/..", "//", "/%2e%2e/", "/%", "/%c0%ae", "/" + "a/" * 900, "#x", ";x=1"])
        elif kind == 3:
            path = "http://" + self.random.choice(["x", "[::1]", "x:99999", "%00"]) + path
        return path

    def request(self):
        """A request that is HTTP, with hostile contents; answers (bytes, method)."""
        method = self.random.choice(METHODS[:10])
        fields = [b"Host: localhost"]
        if self.random.random() < 0.8:
            fields.append(b"Authorization: Bearer " + self._token().encode("utf-8", "surrogatepass"))
        if self.random.random() < 0.2:
            fields.append(b"X-Request-ID: " + self.random.choice([b"a b", b"x" * 500, b"\xff\xfe", b"ok-1"]))
        if self.random.random() < 0.1:
            fields.append(b"X-Forwarded-For: " + self.noise(20).hex().encode())
        if self.random.random() < 0.05:
            fields.append(b"Accept-Encoding: " + b"gzip," * 500)
        body = b""
        if method in ("POST", "PUT", "PATCH", "DELETE") and self.random.random() < 0.9:
            body = self._body()
            others = [b"text/xml", b"application/json;charset=utf-16", b""]
            kind = self.random.choice([b"application/json"] * 6 + others)
            fields.append(b"Content-Type: " + kind)
            if self.random.random() < 0.05:
                fields.append(b"Expect: 100-continue")
        if body and self.random.random() < 0.3:
            fields.append(b"Transfer-Encoding: chunked")
            size = max(1, len(body) // 3)
            parts = [body[i : i + size] for i in range(0, len(body), size)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
        elif body:
            fields.append(b"Content-Length: %d" % len(body))
        line = f"{method} {self._path()} HTTP/1.1".encode("utf-8", "surrogatepass")
        return b"\r\n".join([line, *fields]) + b"\r\n\r\n" + body, method

    def malformed(self):
        """What is no HTTP, or nearly none."""
        kind = self.random.randrange(9)
        whole, _ = self.request()
        if kind == 0:
            return self.noise(500) + b"\r\n\r\n"
        if kind == 1:
            head, _, body = whole.partition(b"\r\n\r\n")
            return self.mutated(head) + b"\r\n\r\n" + body[:1000]
        if kind == 2:
            version = self.random.choice(["0.9", "2.0", "1.2", "x"])
            line = f"{self.random.choice(METHODS)} {self._path()} HTTP/{version}"
            return line.encode("utf-8", "surrogatepass") + b"\r\nHost: x\r\n\r\n"
        if kind == 3:
            return b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * self.random.randrange(90, 3000) + b"\r\n"
        if kind == 4:
            value = b"x" * self.random.randrange(16_000, 90_000)
            return b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + value + b"\r\n\r\n"
        if kind == 5:
            framing = self.random.choice(
                [b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Content-Length: -1", b"Content-Length: 1e3",
                 b"Content-Length: 5\r\nContent-Length: 6", b"Transfer-Encoding: identity",
                 b"Transfer-Encoding: xchunked"]
            )  # fmt: skip
            smuggled = b"0\r\n\r\nGET /x HTTP/1.1\r\n\r\n"
            return b"POST /api/v1/devices HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n" + smuggled
        if kind == 6:
            chunk = self.random.choice([b"zz", b"-1", b"ffffffffffffffffff", b"5;" + b"x" * 9000, b"\xff"])
            head = b"POST /api/v1/devices HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            return head + chunk + b"\r\nabcde\r\n"
        if kind == 7:
            target = self.random.choice([b"\x00", b"/\xff\xfe", b"", b"/ /", b"/\t"])
            return b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        return whole[: self.random.randrange(len(whole))] + b"\r\n\r\n"

    def hello(self):
        """A ClientHello of a real client, whole."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = tls_context(["h2"]).wrap_bio(incoming, outgoing, server_hostname="localhost")
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return outgoing.read()

    def tls_garbage(self, hello):
        kind = self.random.randrange(4)
        if kind == 0:
            return self.noise(3000)
        if kind == 1:
            return self.mutated(hello)
        if kind == 2:
            return b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        return struct.pack("!BHH", self.random.choice([20, 21, 22, 23, 24]), 0x0301, 16_384) + self.noise(3000)

    def frames(self):
        """HTTP/2 after the preface: frames of every type with lengths, flags and streams by chance."""
        data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        if self.random.random() < 0.8:
            data += struct.pack("!I", 0)[1:] + b"\x04\x00" + struct.pack("!I", 0)
        for _ in range(self.random.randrange(1, 30)):
            payload = self.noise(self.random.choice([0, 8, 60, 3000]))
            length = len(payload) if self.random.random() < 0.9 else self.random.randrange(1 << 24)
            stream = self.random.choice([0, 1, 1, 3, 5, 2, 2**31 - 1, 2**32 - 1])
            data += struct.pack("!I", length)[1:] + bytes([self.random.randrange(12), self.random.randrange(256)])
            data += struct.pack("!I", stream) + payload
        return data


def send_http2(port, data):
    """Sends bytes to an HTTP/2 connection and reads until it is closed, or for a moment."""
    raw = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    with tls_context(["h2"]).wrap_socket(raw, server_hostname="localhost") as connection:
        assert connection.selected_alpn_protocol() == "h2"
        connection.settimeout(0.05)
        try:
            connection.sendall(data)
            while connection.recv(65536):
                pass
        except OSError:
            pass


def send_tcp(port, data, linger=0.0):
    """Sends bytes without TLS, and goes without a goodbye."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.sendall(data)
        if linger:
            time.sleep(linger)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
