"""The command line as a client: every command against a real server and a simulated fleet, on terminals and in pipes."""

import json
import os
import re
import signal
import stat
import subprocess
import time

import pytest

from processes import ADMIN_PASSWORD, BIN, HOST_PASSWORD, ROOT, WRONG_PASSWORD, Folder, Server, Winsim, wait_until
from terminal import TerminalSession

HOSTS = 12


class Client:
    """`nmslite` with a session of its own."""

    def __init__(self, server, state):
        self.server = server
        self.state = state

    @property
    def environment(self):
        environment = {**os.environ, "XDG_STATE_HOME": str(self.state), "LANG": "C.UTF-8"}
        environment.pop("NO_COLOR", None)
        return environment

    @property
    def session(self):
        return self.state / "nmslite" / "session.json"

    def run(self, *arguments, input="", status=0):
        finished = subprocess.run(
            [str(part) for part in (BIN / "nmslite", *arguments)],
            input=input, capture_output=True, text=True, timeout=60, env=self.environment,
        )  # fmt: skip
        for secret in (ADMIN_PASSWORD, HOST_PASSWORD, WRONG_PASSWORD):
            assert secret not in finished.stdout + finished.stderr
        assert finished.returncode == status, (arguments, finished.stdout, finished.stderr)
        return finished.stdout if status == 0 else finished.stdout + finished.stderr

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json"))

    def login(self, *arguments, input=ADMIN_PASSWORD + "\n", status=0):
        return self.run("login", *arguments, input=input, status=status)

    def terminal(self, *arguments, **options):
        options["environment"] = {"XDG_STATE_HOME": str(self.state), **options.get("environment", {})}
        return TerminalSession([BIN / "nmslite", *arguments], **options)


@pytest.fixture(scope="module")
def fleet():
    """A server with a monitored fleet, one machine of which can't be signed in to."""
    folder = Folder()
    fleet = server = None
    try:
        fleet = Winsim(folder.path, HOSTS, faults=None)
        fleet.set_faults([{"hosts": fleet.address(1), "fault": "access_denied"}])
        server = Server(folder.path, "--polling.default_interval", "5s").start()
        client = Client(server, folder.path / "state")
        client.login(server.url, "--data_dir", server.data)
        client.run("credentials", "add", "windows", "--user", "monitor", input=HOST_PASSWORD + "\n")
        for address in fleet.addresses:
            client.run("devices", "add", address, "--credential", "windows", "--interval", 5)
        measured = lambda: sum(1 for d in client.json("top", "--once") if d["metrics"])  # noqa: E731
        wait_until(lambda: measured() >= HOSTS - 1, 40, "every machine but one measured", interval=1)
        yield server, fleet, client
    finally:
        for process in (server, fleet):
            if process is not None and process.child.process.poll() is None:
                process.stop()
        folder.remove()


def test_login_keeps_tokens_and_not_the_password(fleet, tmp_path):
    server, _, _ = fleet
    client = Client(server, tmp_path)
    answer = client.login(server.url, "--data_dir", server.data)
    assert answer == f"signed in to {server.url} as admin\n"
    assert stat.S_IMODE(client.session.stat().st_mode) == 0o600
    kept = json.loads(client.session.read_text())
    assert ADMIN_PASSWORD not in client.session.read_text() and kept["username"] == "admin"
    # The session alone is enough, also to know the server again.
    assert len(client.json("devices", "list")) == HOSTS
    assert client.run("logout") == f"signed out of {server.url}\n"
    assert not client.session.exists()
    # On the server as well: the tokens are of no use any more.
    client.session.write_text(json.dumps(kept))
    client.session.chmod(0o600)
    time.sleep(5)
    assert "log in again" in client.run("devices", "list", status=77)


def test_an_unknown_certificate_is_never_trusted_unseen(fleet, tmp_path):
    server, _, _ = fleet
    client = Client(server, tmp_path)
    # Not the certificate file of this machine: as from another one.
    elsewhere = ("--data_dir", tmp_path / "nowhere")
    refused = client.login(server.url, *elsewhere, status=76)
    shown = re.search(r"sha256:[0-9a-f]{64}", refused).group()
    assert not client.session.exists()
    assert "different" not in client.login(server.url, *elsewhere, "--fingerprint", shown)
    assert len(client.json("devices", "list")) == HOSTS
    wrong = "sha256:" + "0" * 64
    assert "not trusted" in client.login(server.url, *elsewhere, "--fingerprint", wrong, status=76)

    other = Client(server, tmp_path / "other")
    session = other.terminal("login", server.url, *elsewhere, columns=120)
    session.wait_for(lambda lines: any("[yes/no]" in line for line in lines))
    assert any(shown in line for line in session.screen())
    session.write("yes\n")
    session.wait_for(lambda lines: any("Password of admin" in line for line in lines))
    session.write(ADMIN_PASSWORD + "\n")
    session.wait_for(lambda lines: any("signed in" in line for line in lines))
    assert ADMIN_PASSWORD.encode() not in session.raw
    assert session.end() == 0


def test_wrong_passwords_and_absent_servers_say_so(fleet, tmp_path):
    server, _, _ = fleet
    client = Client(server, tmp_path)
    assert "UNAUTHORIZED" in client.login(server.url, "--data_dir", server.data, input=WRONG_PASSWORD + "\n", status=77)
    assert "can't be reached" in client.login("https://127.0.0.1:1", status=69)
    assert "must be a URL" in client.login("localhost:8443", status=64)
    assert not client.session.exists()


def test_tokens_are_renewed_by_whoever_comes_first(fleet, tmp_path):
    server, _, _ = fleet
    client = Client(server, tmp_path)
    client.login(server.url, "--data_dir", server.data)
    kept = json.loads(client.session.read_text())
    kept["accessExpires"] = 0
    client.session.write_text(json.dumps(kept))
    # Two uses of one refresh token would end the session.
    running = [
        subprocess.Popen(
            [BIN / "nmslite", "devices", "list"], env=client.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for _ in range(6)
    ]  # fmt: skip
    for process in running:
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
    renewed = json.loads(client.session.read_text())
    assert renewed["refreshToken"] != kept["refreshToken"]
    assert len(client.json("devices", "list")) == HOSTS


def test_devices_from_adding_to_removing(fleet):
    _, simulated, client = fleet
    added = client.json("devices", "add", "192.0.2.77", "--hostname", "spare")
    assert added["ip"] == "192.0.2.77" and added["status"] == "discovered"
    assert "CONFLICT" in client.run("devices", "add", "192.0.2.77", status=1)
    assert "ip" in client.run("devices", "add", "192.0.2.999", status=1)
    assert client.json("devices", "show", "SPARE")["id"] == added["id"]
    assert "no credential nothing" in client.run("devices", "provision", "spare", "--credential", "nothing", status=1)
    # A name that is wrong adds nothing.
    client.run("devices", "add", "192.0.2.78", "--credential", "nothing", status=1)
    assert "no device" in client.run("devices", "show", "192.0.2.78", status=1)
    assert "--yes" in client.run("devices", "remove", "spare", status=1)
    assert "removed" in client.run("devices", "remove", "spare", "--yes")
    assert "no device spare" in client.run("devices", "show", "spare", status=1)

    listed = client.run("devices", "list", "--status", "monitoring")
    assert listed.splitlines()[0].split()[:4] == ["ID", "NAME", "ADDRESS", "STATUS"]
    assert "\x1b" not in listed and "…" not in listed
    shown = client.run("devices", "show", simulated.address(1))
    assert "access_denied" in shown and "docs/errors.md" in shown
    assert "is queued" in client.run("devices", "poll", simulated.address(0))


def test_credentials_from_adding_to_removing(fleet):
    _, _, client = fleet
    client.run("credentials", "add", "second", "--type", "wmi", "--user", "x", "--domain", "CORP",
               "--allowed-target", "10.0.0.0/8", input=WRONG_PASSWORD + "\n")  # fmt: skip
    listed = client.json("credentials", "list")
    second = next(c for c in listed if c["name"] == "second")
    assert (second["credential_type"], second["port"], second["allowed_targets"]) == ("wmi", 135, ["10.0.0.0/8"])
    assert "CORP\\x" in client.run("credentials", "list")
    assert "no password" in client.run("credentials", "add", "third", "--user", "x", status=1)
    assert "new password" in client.run("credentials", "password", "second", input=WRONG_PASSWORD + "2\n")
    assert "CONFLICT" in client.run("credentials", "remove", "windows", "--yes", status=1)
    assert "removed" in client.run("credentials", "remove", "SECOND", "--yes")


def test_the_credentials_password_has_standard_input_to_itself(fleet, tmp_path):
    server, _, _ = fleet
    client = Client(server, tmp_path)
    said = client.run("credentials", "add", "x", "--user", "x", "--server", server.url, input=HOST_PASSWORD, status=77)
    assert "sign in first" in said


def test_metrics_agree_with_the_api(fleet):
    _, simulated, client = fleet
    document = client.json("metrics", simulated.address(0), "--history", "10m")
    assert document["latest"]["memory"]["total_bytes"] > 0
    assert document["history"]["points"]
    text = client.run("metrics", simulated.address(0), "--history", "10m")
    gib = document["latest"]["memory"]["total_bytes"] / 2**30
    assert f"of {gib:.1f} GiB" in text
    for label in ("CPU", "Memory", "Disk", "Net in", "Net out", "Processes", "errors"):
        assert label in text
    assert re.search("[▁▂▃▄▅▆▇█]", text)
    assert "NOT_FOUND" in client.run("metrics", simulated.address(1), status=1)
    assert "--history" in client.run("metrics", simulated.address(0), "--history", "yesterday", status=64)


def test_watching_into_a_pipe_gives_a_line_for_every_poll(fleet):
    _, simulated, client = fleet
    process = subprocess.Popen(
        [BIN / "nmslite", "metrics", simulated.address(2), "--watch", "--json"], env=client.environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    rows = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert rows[0]["job_id"] != rows[1]["job_id"]
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0, process.stderr.read()


def test_the_doctor_names_stage_cause_and_remedy(fleet):
    _, simulated, client = fleet
    before = len(client.json("devices", "list"))
    healthy = client.run("doctor", simulated.address(0))
    assert "polls will work" in healthy and "FAILED" not in healthy
    ill = client.run("doctor", simulated.address(1), "--credential", "windows", status=1)
    assert "FAILED" in ill and "access_denied" in ill and "what to do:" in ill and "docs/errors.md" in ill
    # A machine that is no device: tested, and not kept.
    unknown = client.run("doctor", "127.0.0.1", "--credential", "windows", status=1)
    assert "connection_refused" in unknown
    assert len(client.json("devices", "list")) == before
    assert client.json("doctor", simulated.address(0))["ok"] is True


def test_events_follow_the_fleet(fleet):
    _, simulated, client = fleet
    process = subprocess.Popen(
        [BIN / "nmslite", "events", "--json", "--interval", "1"], env=client.environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stderr.readline()
    faults = [{"hosts": simulated.address(1), "fault": "access_denied"}]
    simulated.set_faults(faults + [{"hosts": simulated.address(3), "fault": "refused"}])
    try:
        event = json.loads(process.stdout.readline())
        assert (event["ip"], event["event"]) == (simulated.address(3), "error")
        assert event["code"] in ("connection_refused", "connection_reset")
        simulated.set_faults(faults)
        event = json.loads(process.stdout.readline())
        assert (event["ip"], event["event"]) == (simulated.address(3), "recovered")
    finally:
        simulated.set_faults(faults)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0, process.stderr.read()


@pytest.mark.parametrize("columns", [80, 160])
def test_top_on_a_terminal(fleet, columns):
    _, _, client = fleet
    session = client.terminal("top", "--interval", "1", columns=columns, rows=18)
    try:
        lines = session.wait_for(lambda lines: f"{HOSTS} of {HOSTS}" in lines[-1])
        heading = lines[3].split()
        assert {"NAME", "STATUS", "CPU", "MEM", "DISK", "IN", "OUT"} <= set(heading)
        assert ("OS" in heading) == (columns == 160)
        assert f"{HOSTS} devices: {HOSTS - 1} monitoring" in lines[0]
        rows = lines[4 : 4 + HOSTS]
        # The busiest first: percentages descend.
        loads = [float(re.search(r"(\d+\.\d)%", row).group(1)) for row in rows[: HOSTS - 1]]
        assert loads == sorted(loads, reverse=True)
        assert "green" in session.colors(4)
        session.write("a")
        session.wait_for(lambda lines: "sorted by name" in lines[2])
        lines = session.screen()
        at = lines[3].index("NAME")
        # Names are cut at their ends: enough of them is left to see their order.
        names = [row[at : at + 9].lower() for row in lines[4 : 4 + HOSTS]]
        assert names == sorted(names)
        session.write("r")
        session.wait_for(lambda lines: "reversed" in lines[2])
        # A smaller window: still a screen of it, and the rest can be scrolled to.
        session.resize(80, 10)
        session.wait_for(lambda lines: f"1-5 of {HOSTS}" in lines[-1])
        session.write("\x1b[6~")
        session.wait_for(lambda lines: f"6-10 of {HOSTS}" in lines[-1])
        session.write("q")
        assert session.end() == 0
        assert session.raw.endswith(b"\x1b[?25h\x1b[?1049l")
    finally:
        session.close()


def test_ctrl_c_gives_the_terminal_back(fleet):
    _, simulated, client = fleet
    for command in (("top",), ("metrics", simulated.address(0), "--watch")):
        session = client.terminal(*command)
        session.wait_for(lambda lines: any("%" in line for line in lines))
        session.write("\x03")
        assert session.end() == 0
        assert session.raw.endswith(b"\x1b[?25h\x1b[?1049l")


def test_no_color_is_honoured(fleet):
    _, _, client = fleet
    session = client.terminal("devices", "list", columns=120, environment={"NO_COLOR": "1"})
    assert session.process.wait(20) == 0
    session.wait_for(lambda lines: any("monitoring" in line for line in lines))
    assert b"\x1b[3" not in session.raw
    session.close()
    session = client.terminal("devices", "list", columns=120)
    assert session.process.wait(20) == 0
    session.wait_for(lambda lines: any("monitoring" in line for line in lines))
    assert b"\x1b[32m" in session.raw
    session.close()


def test_top_goes_on_when_the_server_is_away(fleet):
    server, _, client = fleet
    session = client.terminal("top", "--interval", "1", columns=120)
    try:
        session.wait_for(lambda lines: f"of {HOSTS}" in lines[-1])
        server.stop()
        lines = session.wait_for(lambda lines: "ago: " in lines[2])
        assert "can't be reached" in lines[2] and f"of {HOSTS}" in lines[-1]
        assert "red" in session.colors(2)
        server.start()
        session.wait_for(lambda lines: "sorted by" in lines[2])
        session.write("q")
        assert session.end() == 0
    finally:
        session.close()


def test_help_has_examples_and_shells_can_complete(fleet):
    _, _, client = fleet
    for command in ("login", "devices", "credentials", "metrics", "top", "doctor", "events"):
        text = client.run(command, "--help")
        assert "EXAMPLES" in text and f"nmslite {command}" in text, command
    for shell in ("bash", "zsh", "fish"):
        script = client.run("--generate-completion-script", shell)
        assert "doctor" in script and "credentials" in script
    finished = subprocess.run(["bash", "-n"], input=client.run("--generate-completion-script", "bash"), text=True)
    assert finished.returncode == 0


def test_the_demo_leaves_nothing_behind(folder):
    """`make demo` as it stands, on a small fleet: rows within seconds, and no process or file afterwards."""
    finished = subprocess.run(
        [ROOT / "scripts" / "demo", "--once", "--hosts", "8", "--bin", BIN],
        capture_output=True, text=True, timeout=150, stdin=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "simulated" in finished.stdout and "8 Windows machines" in finished.stdout
    assert re.search(r"first measured row came \d+\.\d s after the start", finished.stdout)
    assert re.search(r"8 devices: .*monitoring", finished.stdout)
    assert list(folder.iterdir()) == []
    left = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True)
    assert left.stdout == ""
