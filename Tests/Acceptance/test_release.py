"""The optimised build: it compiles, and carries the main job. Debug builds accept code that it refuses."""

import os
import pathlib

import pytest

import processes
from processes import wait_until
from test_first_steps import NTLM, assert_equals_truth, first_row

#: Folder of the build that scripts/test began beside the other tests: its log, and its exit status when it is over.
BUILD = os.environ.get("NMSLITE_RELEASE_BUILD")
#: Seconds that the build may take from here; it runs at idle priority while the other tests run.
LIMIT = 1500


@pytest.mark.skipif(not BUILD, reason="NMSLITE_RELEASE_BUILD is not set: scripts/test begins a release build")
def test_the_release_build_carries_the_main_job(start, monkeypatch):
    build = pathlib.Path(BUILD)
    status = build / "status"
    wait_until(status.exists, LIMIT, "the end of the release build", interval=1)
    log = (build / "log").read_text(errors="replace")
    assert status.read_text().strip() == "0", log[-6000:]
    monkeypatch.setattr(processes, "BIN", pathlib.Path((build / "bin").read_text().strip()))
    fleet = start.winsim(1, static=True)
    _, _, metrics = first_row(start.server(), fleet, NTLM)
    assert_equals_truth(fleet, metrics)
