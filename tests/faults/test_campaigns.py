"""The short form of the campaigns: `make faults` runs the long one."""

import shutil

import pytest

from tests.faults import config_cases, damage, kills
from tests.faults.campaign import BAD
from tests.faults.runs import finished, stopped


def test_random_configs_are_traced_or_one_line():
    counts = config_cases.run(600, seed=1, most_traced=3)
    assert 0 < counts["refused"] < 600
    assert counts["traced"] == 3


def test_damage_is_found(tmp_path):
    config, workdir, abstract, states = finished(tmp_path)
    assert sorted(states) == [4, 8, 12]
    counts = damage.damage_checkpoints(workdir, abstract, states, 20, seed=1)
    assert counts["the newest"] > 0
    assert counts["an earlier one"] > 0
    counts = damage.damage_records(workdir, config, 20, seed=1, kinds=damage.JSON_FILES)
    assert counts["used"] > 0
    assert counts["refused"] > 0
    damage.damage_records(stopped(tmp_path), config, 2, seed=1, kinds=damage.JSON_FILES[:2])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_kills_and_failures_cost_nothing(tmp_path):
    counts = kills.run(6, 7, tmp_path)
    assert {"kill", "full disk", "failure", "signal"} <= counts.keys()
    assert not counts.keys() & set(BAD), counts
