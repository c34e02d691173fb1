"""The audit of a real server: what was done over the API and on the command line, and no password in it."""

import json
import os
import pwd
import subprocess

from processes import ADMIN_PASSWORD, HOST_PASSWORD, WRONG_PASSWORD


def user(server, *arguments, password=None):
    done = subprocess.run(
        [str(part) for part in server.command("user", *arguments)],
        input=password, text=True, capture_output=True, timeout=60, env={**os.environ, **server.environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_who_did_what(start):
    server = start.server()
    api = server.api()
    first, second = "Us3r-first-9aQx", "Us3r-second-4bWz"
    user(server, "add", "carol", "--role", "viewer", password=first)
    user(server, "passwd", "carol", password=second)
    credential = api.credential(password=HOST_PASSWORD)
    api.call("PUT", f"/credentials/{credential}", {"password": WRONG_PASSWORD})
    device = api.device("127.0.0.9")
    api.call("PUT", f"/devices/{device}", {"hostname": "web-1"})
    api.call("POST", "/auth/login", {"username": "carol", "password": WRONG_PASSWORD}, status=401)
    assert server.api("carol", second).call("GET", "/audit", status=403)["code"] == "FORBIDDEN"
    user(server, "remove", "carol")

    audit = api.call("GET", "/audit", params={"limit": 100})
    entries = list(reversed(audit["entries"]))
    assert audit["total"] == len(entries)
    assert [entry["action"] for entry in entries] == [
        "user.created", "session.login", "user.created", "user.password_changed", "credential.created",
        "credential.updated", "device.created", "device.updated", "session.login_failed", "session.login",
        "user.removed",
    ]  # fmt: skip
    assert entries[0]["actor"]["type"] == "system" and entries[0]["target"]["name"] == "admin"
    for number in (2, 3, 10):
        account = pwd.getpwuid(os.geteuid()).pw_name
        assert entries[number]["actor"] == {
            "type": "command_line", "user_id": None, "username": account, "role": None
        }  # fmt: skip
        assert entries[number]["target"]["name"] == "carol"
    assert entries[7]["actor"]["username"] == "admin" and entries[7]["remote_address"] in ("127.0.0.1", "::1")
    assert entries[7]["changes"] == {"hostname": {"from": None, "to": "web-1"}}
    assert entries[5]["changes"] == {"password": {"changed": True}}
    assert entries[8]["actor"]["type"] == "anonymous" and entries[8]["target"]["name"] == "carol"
    for secret in (ADMIN_PASSWORD, HOST_PASSWORD, WRONG_PASSWORD, first, second):
        assert secret not in json.dumps(entries)
