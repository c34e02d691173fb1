"""Every way in that the specification names, and every way to deploy the parts."""

import pathlib
import secrets
import subprocess
import tempfile

import pytest

from processes import ADMIN_PASSWORD, HOST_PASSWORD, WRONG_PASSWORD, Child, Folder, free_port, wait_until
from test_first_steps import NTLM, assert_equals_truth, first_row

BASIC_TLS = {"credential_type": "winrm_basic", "use_ssl": True, "password": HOST_PASSWORD}
NTLM_TLS = {"credential_type": "winrm_ntlm", "use_ssl": True, "password": HOST_PASSWORD}


@pytest.mark.parametrize(
    ("switches", "credential"),
    [
        pytest.param(["--basic"], BASIC_TLS, id="basic-over-https"),
        pytest.param(["--strict-channel-binding"], NTLM_TLS, id="ntlm-over-https-with-strict-channel-binding"),
    ],
)
def test_over_https(start, switches, credential):
    fleet = start.winsim(1, *switches, static=True)
    server = start.server("--winrm.ca_file", fleet.ca_file)
    _, _, metrics = first_row(server, fleet, credential)
    assert_equals_truth(fleet, metrics)


def test_basic_over_http_only_when_the_credential_says_so(start):
    fleet = start.winsim(1, "--basic", "--allow-unencrypted", static=True)
    server = start.server()
    api = server.api()
    plain = {"name": "b", "credential_type": "winrm_basic", "username": "monitor", "password": HOST_PASSWORD}
    refused = api.call("POST", "/credentials", plain, status=400)
    assert refused["code"] == "VALIDATION_ERROR" and HOST_PASSWORD not in str(refused)
    credential = api.call("POST", "/credentials", {**plain, "allow_unencrypted_basic": True}, status=201)["id"]
    device = api.add(fleet.address(0), credential)
    assert_equals_truth(fleet, api.metrics(device))


def test_an_untrusted_certificate_is_refused_unless_the_credential_opts_out(start):
    fleet = start.winsim(2, "--basic", static=True)
    server = start.server()
    api = server.api()
    strict = api.credential("strict", **NTLM_TLS)
    device = api.add(fleet.address(0), strict)
    shown = api.wait_for(device, lambda d: d["last_error"], 15, "the certificate's refusal")
    assert shown["last_error"]["code"] == "tls_failed"
    assert "winrm.ca_file" in shown["last_error"]["message"] or "tls_verify" in shown["last_error"]["message"]
    assert fleet.state(fleet.address(0))["authentications"] == 0
    lax = api.credential("lax", **NTLM_TLS, tls_verify="none")
    other = api.add(fleet.address(1), lax)
    assert_equals_truth_of(fleet, 1, api.metrics(other))


def assert_equals_truth_of(fleet, index, metrics):
    truth = fleet.state(fleet.address(index))
    assert metrics["memory"]["used_bytes"] == truth["memory_used_bytes"]


class ExternalServers:
    """A PostgreSQL and a nats-server that nmslite did not start."""

    def __init__(self, folder):
        self.folder = folder / "external"
        self.folder.mkdir(mode=0o711)
        self.password = "Ext3rnal-acceptance-" + secrets.token_hex(8)
        self.postgres_port = free_port()
        self.nats_port = free_port()
        self.token = secrets.token_hex(16)
        binaries = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        data = self.folder / "pg"
        data.mkdir(mode=0o700)
        secret = self.folder / "pw"
        secret.write_text(self.password)
        as_user = []
        import os
        import shutil

        if os.geteuid() == 0:
            for path in (data, secret):
                shutil.chown(path, "postgres", "postgres")
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        subprocess.run(
            [*as_user, binaries / "initdb", "-D", data, "-U", "nms_owner", "--pwfile", secret,
             "--auth=scram-sha-256", "-E", "UTF8", "--locale=C"],
            check=True, capture_output=True, cwd="/",
        )  # fmt: skip
        self.postgres = Child(
            [*as_user, binaries / "postgres", "-D", data, "-p", self.postgres_port, "-c", "listen_addresses=127.0.0.1",
             "-c", "unix_socket_directories=", "-c", "fsync=off"],
            folder / "external-postgres.log",
        )  # fmt: skip
        configuration = self.folder / "nats.conf"
        store = self.folder / "jetstream"
        configuration.write_text(
            f'listen: "127.0.0.1:{self.nats_port}"\nauthorization {{ token: "{self.token}" }}\n'
            f'jetstream {{ store_dir: "{store}" }}\n'
        )
        self.nats = Child(["nats-server", "-c", configuration], folder / "external-nats.log")
        environment = {"PGPASSWORD": self.password}
        psql = ["psql", "-h", "127.0.0.1", "-p", str(self.postgres_port), "-U", "nms_owner", "-d", "postgres", "-qAt"]
        import time

        deadline = time.monotonic() + 30
        while subprocess.run([*psql, "-c", "SELECT 1"], env={**os.environ, **environment}, capture_output=True).returncode:
            assert time.monotonic() < deadline, self.postgres.output
            time.sleep(0.2)
        subprocess.run([*psql, "-c", "CREATE DATABASE nms_external"], env={**os.environ, **environment}, check=True)

    def stop(self):
        self.nats.terminate()
        self.postgres.process.send_signal(2)
        self.postgres.process.wait(20)


@pytest.fixture
def external(folder):
    servers = ExternalServers(folder)
    yield servers
    servers.stop()


def test_external_postgresql_and_nats(start, folder, external):
    fleet = start.winsim(1, static=True)
    file = folder / "config.yaml"
    file.write_text(
        f"""
database:
  host: "127.0.0.1"
  port: {external.postgres_port}
  name: "nms_external"
  user: "nms_owner"
  password: "${{DB_PASSWORD}}"
queue:
  type: "nats"
  url: "nats://{external.token}@127.0.0.1:{external.nats_port}"
  embedded: false
auth:
  jwt_secret: "${{JWT_SECRET}}"
encryption:
  master_key: "${{NMSLITE_MASTER_KEY}}"
"""
    )
    environment = {
        "DB_PASSWORD": external.password,
        "JWT_SECRET": secrets.token_hex(32),
        "NMSLITE_MASTER_KEY": secrets.token_hex(32),
    }
    server = start.server("--config", file, environment=environment)
    _, identifier, metrics = first_row(server, fleet, NTLM)
    assert_equals_truth(fleet, metrics)
    assert not (server.data / "postgres").exists() and not (server.data / "nats").exists()
    for secret in (*environment.values(), external.token):
        assert secret not in server.log.read_text()
    assert server.stop() == 0

    # Another master key is refused: it could not open what is stored.
    other = {**server.environment, "NMSLITE_MASTER_KEY": secrets.token_hex(32)}
    child = Child(
        server.command("serve", "--server.port", server.port, "--config", file), folder / "other-key.log", other
    )
    assert child.process.wait(30) == 78, child.output
    assert "master key" in child.output.lower()

    server.start()
    wait_until(lambda: len(server.api().rows(identifier)) >= 2, 30, "rows after the restart")
