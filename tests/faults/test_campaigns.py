"""The short form of the campaigns: `make faults` runs the long one."""

import shutil
import sys

import pytest

from crnn_jax.config import default_config
from tests.faults import config_cases, damage, kills, long_run
from tests.faults.campaign import BAD
from tests.faults.runs import finished, stopped

pytestmark = pytest.mark.long


def test_random_configs_are_traced_or_one_line():
    counts = config_cases.run(200, seed=1, most_traced=2)
    assert 0 < counts["refused"] < 200
    assert counts["traced"] == 2


@pytest.mark.parametrize("steps", ["3", "65536"])
def test_a_batch_without_equal_parts_is_one_line(steps):
    config = default_config("cnn")
    assert config_cases.mistake(config, [("optim.accumulation_steps", steps)]) is None
    message = config_cases.trace_step(config, (8, 8, 1))
    assert message is not None
    assert f"the {steps} of 'optim.accumulation_steps'" in message


def test_damage_is_found(tmp_path):
    config, workdir, abstract, states = finished(tmp_path)
    assert sorted(states) == [4, 8, 12]
    counts = damage.damage_checkpoints(workdir, abstract, states, 12, seed=1)
    assert counts["the newest"] > 0
    assert counts["an earlier one"] > 0
    counts = damage.damage_records(workdir, config, 10, seed=1, kinds=damage.JSON_FILES)
    assert counts["used"] > 0
    assert counts["refused"] > 0
    damage.damage_records(stopped(tmp_path), config, 2, seed=1, kinds=damage.JSON_FILES[:2])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_kills_and_failures_cost_nothing(tmp_path):
    counts = kills.run(6, 7, tmp_path)
    assert {"kill", "full disk", "failure", "signal"} <= counts.keys()
    assert not counts.keys() & set(BAD), counts


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev/shm")
def test_a_long_run_keeps_its_memory_files_and_threads(tmp_path):
    streamed = {"data__pipeline": "streaming", "data__num_workers": "1"}
    found = long_run.run(2500, tmp_path, **streamed)
    assert not long_run.problems(found), found


def test_growth_is_a_problem():
    flat = {"steps": 2500, "resident_mb": [100, 102], "files": [5, 4], "threads": [3, 5]}
    assert long_run.problems({**flat, "left": 0, "code": 0}) == []
    grown = {"resident_mb": [100, 103], "files": [5, 8], "threads": [3, 6], "left": 1, "code": 1}
    names = ["files", "threads", "resident_mb", "left", "code"]
    assert long_run.problems({**flat, **grown}) == names
