"""Random kills for half a minute, each kind at least once: every acknowledged result once, every device polled, nothing left over.

The long version is scripts/chaos. Another order of faults: NMSLITE_CHAOS_SEED=7.
"""

import os

import pytest

from chaos import Chaos

HOSTS = 40
INTERVAL = 5
SECONDS = 32
SEED = int(os.environ.get("NMSLITE_CHAOS_SEED", "6"))


@pytest.mark.parametrize("instances", [1])
def test_nothing_acknowledged_is_lost(folder, instances, capsys):
    chaos = Chaos(folder, HOSTS, INTERVAL, instances, SEED, pause=(1.0, 4.0))
    try:
        chaos.run(SECONDS)
        result = chaos.check()
    finally:
        chaos.stop()
    with capsys.disabled():
        print(f"\n{result}")
