"""A certificate is replaced while the server runs: new connections get the new one, open ones go on."""

import datetime
import hashlib
import http.client
import ipaddress
import json
import os
import signal
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from processes import Server, wait_until


class Pair:
    """A self-signed certificate for localhost and its key."""

    def __init__(self, days=30):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.timezone.utc)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=60))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self.digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
        self.key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def fingerprint(self):
        """As the log has it."""
        return ":".join(self.digest[i : i + 2] for i in range(0, 64, 2)).upper()


class Files:
    def __init__(self, folder):
        self.certificate, self.key = folder / "given.crt", folder / "given.key"

    def write(self, pair):
        self.write_key(pair)
        self.write_certificate(pair)

    def write_key(self, pair):
        self._replace(self.key, pair.key)

    def write_certificate(self, pair):
        self._replace(self.certificate, pair.certificate)

    @staticmethod
    def _replace(path, data):
        temporary = path.with_suffix(".new")
        temporary.touch(0o600)
        temporary.write_bytes(data)
        os.replace(temporary, path)


def insecure():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def served(port):
    """The digest of the certificate that a new connection gets."""
    with socket.create_connection(("127.0.0.1", port), 10) as raw:
        with insecure().wrap_socket(raw) as connection:
            return hashlib.sha256(connection.getpeercert(True)).hexdigest()


class KeptOpen:
    """One connection, used again and again."""

    def __init__(self, port):
        self.connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=insecure())
        self.connection.connect()
        self.socket = self.connection.sock
        self.ask()

    def ask(self):
        self.connection.request("GET", "/health")
        answer = self.connection.getresponse()
        assert json.load(answer)["success"] is True
        assert self.connection.sock is self.socket, "the connection was dropped"


@pytest.fixture
def given(folder, start):
    """A server with a certificate of its own files."""
    files, first = Files(folder), Pair()
    files.write(first)
    server = start.server("--server.tls.cert_file", files.certificate, "--server.tls.key_file", files.key)
    # The tests' client knows the data directory's certificate alone.
    return server, files, first


def lines(server, part):
    return [json.loads(line) for line in server.log_lines() if part in line and line.startswith("{")]


@pytest.fixture(autouse=True)
def own_certificate(monkeypatch, folder):
    own = Server.certificate.fget
    given = folder / "given.crt"
    monkeypatch.setattr(Server, "certificate", property(lambda self: str(given) if given.exists() else own(self)))


@pytest.mark.parametrize("by_signal", [True, False], ids=["SIGHUP", "by itself"])
def test_new_connections_get_the_new_certificate_and_open_ones_go_on(given, by_signal):
    server, files, first = given
    assert served(server.port) == first.digest
    kept = KeptOpen(server.port)
    second = Pair()
    files.write(second)
    if by_signal:
        server.child.process.send_signal(signal.SIGHUP)
        wait_until(lambda: lines(server, "SIGHUP: looking at"), 20, "the signal is heard")
    # The files are looked at every five seconds.
    wait_until(lambda: served(server.port) == second.digest, 30, "the new certificate")
    kept.ask()
    loaded = lines(server, "certificate loaded")
    assert any(second.fingerprint in json.dumps(line) and "not_after" in json.dumps(line) for line in loaded)
    assert not lines(server, "certificate not loaded")
    KeptOpen(server.port)
    kept.ask()


@pytest.mark.parametrize("damage", ["mismatched", "half-written", "missing", "expired", "no PEM"])
def test_files_that_cannot_be_used_change_nothing(given, damage):
    server, files, first = given
    kept = KeptOpen(server.port)
    second = Pair(days=-1 if damage == "expired" else 30)
    if damage == "mismatched":
        files.write_certificate(second)
    elif damage == "half-written":
        files.certificate.write_bytes(second.certificate[: len(second.certificate) // 2])
    elif damage == "missing":
        files.key.unlink()
    elif damage == "expired":
        files.write(second)
    else:
        files.certificate.write_text("not a certificate\n")

    wait_until(lambda: lines(server, "certificate not loaded"), 40, "an error in the log")
    [error] = lines(server, "certificate not loaded")
    text = json.dumps(error)
    assert str(files.key if damage == "missing" else files.certificate) in text
    assert first.fingerprint in text
    assert served(server.port) == first.digest
    kept.ask()
    # Once per change; and who asks is answered.
    server.child.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(lines(server, "certificate not loaded")) == 2, 20, "an answer to SIGHUP")
    # The remedy needs no restart.
    third = Pair()
    files.write(third)
    server.child.process.send_signal(signal.SIGHUP)
    wait_until(lambda: served(server.port) == third.digest, 20, "the third certificate")
    kept.ask()


def test_a_certificate_that_ends_soon_is_warned_of(folder, start):
    files = Files(folder)
    files.write(Pair(days=10))
    server = start.server("--server.tls.cert_file", files.certificate, "--server.tls.key_file", files.key)
    wait_until(lambda: lines(server, "about to expire"), 20, "a warning")
    [warning] = lines(server, "about to expire")
    assert "9" in json.dumps(warning) and str(files.certificate) in json.dumps(warning)


def test_without_tls_sighup_does_nothing(start, monkeypatch):
    monkeypatch.setattr(Server, "url", property(lambda self: f"http://localhost:{self.port}"))
    server = start.server("--server.tls.enabled", "false")
    server.child.process.send_signal(signal.SIGHUP)
    wait_until(lambda: lines(server, "nothing to reload"), 20, "a notice")
    assert server.child.process.poll() is None
