"""Transport: versions of TLS, HTTP/2 frame by frame, and clients that do not read."""

import json
import pathlib
import socket
import ssl
import time
import warnings

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest

from conftest import assert_no_secrets
from hostile import TIMEOUT, Connection, tls_context
from processes import Folder, Server, wait_until


@pytest.fixture(scope="module")
def server():
    """One for all of these: none of them leaves anything behind, and that is what they test."""
    folder = Folder()
    server = Server(folder.path, "--server.write_timeout", "2s", "--server.read_timeout", "2s").start()
    yield server
    server.stop()
    assert_no_secrets(server)
    folder.remove()


class Client:
    """A connection of HTTP/2 that does as it is told and checks nothing."""

    def __init__(self, port, window=None):
        raw = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.socket = tls_context(["h2"]).wrap_socket(raw, server_hostname="localhost")
        assert self.socket.selected_alpn_protocol() == "h2"
        self.socket.settimeout(TIMEOUT)
        configuration = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="utf-8"
        )
        self.state = h2.connection.H2Connection(configuration)
        if window is not None:
            self.state.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.state.initiate_connection()
        self.flush()

    def flush(self):
        self.socket.sendall(self.state.data_to_send())

    def send(self, fields, body=None, end=True):
        stream = self.state.get_next_available_stream_id()
        self.state.send_headers(stream, fields, end_stream=body is None and end)
        if body is not None:
            self.state.send_data(stream, body, end_stream=end)
        self.flush()
        return stream

    def events(self):
        """What comes, until the connection ends."""
        while True:
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                return
            if not data:
                return
            for event in self.state.receive_data(data):
                if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                yield event
            self.flush()

    def answer(self, stream):
        """(status, fields, document) of one stream; the document is the code of a reset if that is the answer."""
        fields, body = {}, b""
        for event in self.events():
            if getattr(event, "stream_id", None) == stream:
                if isinstance(event, h2.events.ResponseReceived):
                    fields = dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamReset):
                    return None, {}, event.error_code
                if isinstance(event, h2.events.StreamEnded):
                    return int(fields[":status"]), fields, json.loads(body) if body else None
            if isinstance(event, h2.events.ConnectionTerminated):
                return None, {}, event.error_code
        return None, {}, None

    def get(self, path, *more, method="GET"):
        return self.answer(self.send([*pseudo(method, path), *more]))

    def is_cut_off(self, within):
        """Whether the server ends the connection, however little it says."""
        self.socket.settimeout(within)
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True


def pseudo(method, path):
    return [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]


@pytest.mark.parametrize(
    "version, spoken",
    [
        (ssl.TLSVersion.TLSv1, False), (ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)  # fmt: skip
def test_tls_1_2_is_the_lowest_version(server, version, spoken):
    context = tls_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        # Security level 0 lets the client itself offer what it would not by default.
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as raw:
        if not spoken:
            with pytest.raises((ssl.SSLError, ConnectionError)) as refusal:
                context.wrap_socket(raw)
            assert "NO_PROTOCOLS" not in str(refusal.value), "the client offered nothing"
            return
        with context.wrap_socket(raw) as connection:
            assert connection.version() == version.name.replace("_", ".")


@pytest.mark.parametrize(
    "offered, chosen",
    [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), (["http/1.1", "h2"], "h2"), (None, None)],
)
def test_alpn_chooses_http2_where_it_is_offered(server, offered, chosen):
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as raw:
        with tls_context(offered).wrap_socket(raw) as connection:
            assert connection.selected_alpn_protocol() == chosen


@pytest.mark.parametrize(
    "method, path, status, code",
    [
        ("GET", "/health", 200, None), ("GET", "/nothing", 404, "NOT_FOUND"),
        ("PATCH", "/health", 405, "METHOD_NOT_ALLOWED"),
        ("BREW", "/health", 405, "METHOD_NOT_ALLOWED"), ("TRACE", "/health", 405, "METHOD_NOT_ALLOWED"),
        ("OPTIONS", "*", 404, "NOT_FOUND"), ("GET", "/%zz", 400, "VALIDATION_ERROR"),
        ("GET", "/%c0%af", 400, "VALIDATION_ERROR"), ("GET", "/%00", 400, "VALIDATION_ERROR"),
        ("GET", "/" + "x" * 3000, 400, "VALIDATION_ERROR"), ("GET", "/api/v1/devices", 401, "UNAUTHORIZED"),
        ("GET", "nothing", 404, "NOT_FOUND"), ("HEAD", "/health", 200, None), ("HEAD", "/nothing", 404, None),
    ],
)  # fmt: skip
def test_answers_over_http2_have_the_envelope(server, method, path, status, code):
    got, fields, document = Client(server.port).get(path, method=method)
    assert got == status
    assert fields["x-request-id"] and fields["x-content-type-options"] == "nosniff"
    assert fields["strict-transport-security"]
    if method == "HEAD":
        assert document is None
    else:
        assert document["success"] is (status == 200)
        assert code is None or document["error"]["code"] == code


def test_bodies_over_http2(server):
    client = Client(server.port)
    login = pseudo("POST", "/api/v1/auth/login")
    json_type = ("content-type", "application/json")
    for body, status, code in [
        (b"{", 400, "VALIDATION_ERROR"), (b'{"username":1,"username":2}', 400, "VALIDATION_ERROR"),
        (b"[" * 100, 400, "VALIDATION_ERROR"),
    ]:  # fmt: skip
        got, _, document = client.answer(client.send([*login, json_type], body))
        assert (got, document["error"]["code"]) == (status, code)
    got, _, document = client.answer(client.send([*login, ("content-type", "text/xml")], b"{}"))
    assert (got, document["error"]["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    stream = client.send([*login, json_type, ("content-length", "2000000")], end=False)
    got, _, document = client.answer(stream)
    assert (got, document["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    "fields",
    [
        [(":method", "GET"), (":scheme", "https"), (":authority", "x")],
        [(":method", "GET"), (":scheme", "https"), (":path", "")],
        [(":method", "CONNECT"), (":authority", "x:443")],
        [*pseudo("GET", "/health"), (":path", "/twice")],
        [*pseudo("GET", "/health"), ("Upper", "case")],
        [*pseudo("GET", "/health"), ("connection", "close")],
        [*pseudo("G T", "/health")],
        [*pseudo("GET", "/health"), *((f"a{i}", "x" * 1000) for i in range(40))],
        [*pseudo("GET", "/health"), ("a", "\x00")],
        [*pseudo("POST", "/health"), ("content-length", "two")],
    ],
    ids=lambda fields: "-".join(name + "=" + value[:10] for name, value in fields[-2:]),
)
def test_what_is_no_http2_is_refused(server, fields):
    client = Client(server.port)
    status, answered, outcome = client.answer(client.send(fields))
    # A stream that can be answered is; otherwise it or the connection is reset (RFC 9113 §8.1.1).
    if status is None:
        assert outcome is not None
        assert outcome != h2.errors.ErrorCodes.NO_ERROR
    else:
        assert status in (400, 404, 405), outcome
        assert answered["x-request-id"] and outcome["success"] is False
    assert Client(server.port).get("/health")[0] == 200


def test_streams_at_once_are_bounded(server):
    client = Client(server.port)
    client.get("/health")
    assert client.state.remote_settings.max_concurrent_streams == 100
    # Beyond it a stream is refused, or the connection.
    client.state.remote_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = 1000
    client.state.remote_settings.acknowledge()
    for _ in range(150):
        client.send(pseudo("POST", "/api/v1/auth/login"), end=False)
    for event in client.events():
        if isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            break
    else:
        pytest.fail("150 streams at once were taken")


def test_rapid_resets_end_the_connection(server):
    client = Client(server.port)
    try:
        for _ in range(1000):
            stream = client.send(pseudo("GET", "/health"))
            client.state.reset_stream(stream)
            client.flush()
    except OSError:
        pass
    assert client.is_cut_off(30)
    assert Client(server.port).get("/health")[0] == 200


def test_floods_of_control_frames_end_the_connection(server):
    for frame in [b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"x" * 8, b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"]:
        client = Client(server.port)
        try:
            for _ in range(20):
                client.socket.sendall(frame * 200)
        except OSError:
            pass
        assert client.is_cut_off(30), frame


def is_established(server, client):
    """Whether the server's end of a connection is open, as the kernel has it (proc(5), /proc/net/tcp)."""
    ends = f":{server.port:04X}", f":{client.getsockname()[1]:04X}"
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state = line.split()[:4]
        if local.endswith(ends[0]) and remote.endswith(ends[1]):
            return state == "01"
    return False


def test_a_client_that_does_not_read_is_cut_off(server):
    with socket.socket() as raw:
        # Small buffers: what the kernel holds for the client is no backlog of the server's.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", server.port))
        connection = Connection.CONTEXT.wrap_socket(raw, server_hostname="localhost")
        connection.settimeout(0.5)
        try:
            for _ in range(200):
                connection.sendall(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        except OSError:
            pass
        wait_until(lambda: not is_established(server, connection), 30, "the connection to be closed")


def test_an_http2_client_that_opens_no_window_is_cut_off(server):
    client = Client(server.port, window=0)
    client.send(pseudo("GET", "/health"))
    assert client.is_cut_off(30)


def test_a_head_that_comes_byte_by_byte_is_cut_off(server):
    connection = Connection(server.port)
    started = time.monotonic()
    with pytest.raises(OSError):
        for byte in b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"x" * 1000:
            connection.socket.sendall(bytes([byte]))
            time.sleep(0.05)
    # All of it would take 50 seconds.
    assert time.monotonic() - started < 20


def test_a_body_that_comes_byte_by_byte_is_cut_off(server):
    connection = Connection(server.port)
    fields = b"Host: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
    head = b"POST /api/v1/auth/login HTTP/1.1\r\n" + fields + b"\r\n"
    connection.socket.sendall(head)
    started = time.monotonic()
    with pytest.raises(OSError):
        for _ in range(1000):
            connection.socket.sendall(b" ")
            time.sleep(0.05)
    # All of it would take 50 seconds.
    assert time.monotonic() - started < 20


def test_connections_beyond_the_limit_take_the_place_of_idle_ones(start):
    server = start.server("--server.max_connections", 20)
    connections = [Connection(server.port) for _ in range(60)]
    # The newest ones are served, the oldest gone; whoever is new comes in all the same.
    assert Client(server.port).get("/health")[0] == 200
    open_ones = 0
    for connection in reversed(connections):
        try:
            connection.socket.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            open_ones += connection.read().status == 200
        except (OSError, EOFError):
            pass
    assert 15 <= open_ones <= 20
