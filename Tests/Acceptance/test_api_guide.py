"""docs/api.md: its commands run as they stand."""

import os
import pathlib
import re
import subprocess


from processes import ADMIN_PASSWORD, HOST_PASSWORD

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "api.md"
EXPECTED = re.compile(r"\s*# → (.*)$", re.MULTILINE)
MARK = "@@@"


def test_the_commands_of_the_guide_do_what_it_says(start):
    fleet = start.winsim(1)
    server = start.server("--targets.allow", "127.0.0.0/8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    address = fleet.address(0)
    script = "set -eu -o pipefail\n"
    for block in blocks:
        block = EXPECTED.sub("", block).replace("192.168.1.10", address).replace("search=192.168", "search=127.")
        script += f"{block}\necho '{MARK}'\n"
    script = script.replace("P@ssw0rd123", HOST_PASSWORD)
    finished = subprocess.run(
        ["bash", "-c", script],
        env={
            **os.environ,
            "API": f"{server.url}/api/v1", "CA": server.certificate, "NMSLITE_PASSWORD": ADMIN_PASSWORD,
            "no_proxy": "localhost", "NO_PROXY": "localhost",
        },
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    outputs = finished.stdout.split(f"{MARK}\n")
    for block, output in zip(blocks, outputs):
        lines = iter(output.splitlines())
        for expected in EXPECTED.findall(block):
            # In this order: a later command's output can't stand in for an earlier one's.
            assert any(expected in line for line in lines), f"{expected!r} of\n{block}\nis not in\n{output}"
