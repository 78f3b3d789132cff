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


def left(train):
    """Returns what a run with these (step, mean loss) left, as `kills.kept` does."""
    lines = [(step, "train/loss", mean) for step, mean in train]
    rest = {"state": "crc", "lines": [], "test": {"accuracy": 0.5}}
    return {"train": {"train/loss": kills.sums(lines, "train/loss")}, **rest}


def test_a_stop_may_log_a_line_more_and_nothing_else():
    whole = left([(3, 2.0), (6, 1.0)])
    stopped = left([(1, 4.0), (3, 1.0), (6, 1.0)])
    assert kills.same(stopped, whole, 1)
    assert kills.same(whole, whole, 3)
    assert not kills.same(stopped, whole, None)  # nobody stopped it
    assert not kills.same(stopped, whole, 2)
    assert not kills.same(left([(1, 4.0), (3, 1.5), (6, 1.0)]), whole, 1)  # a loss is another
    assert not kills.same(left([(3, 2.0), (6, 1.0), (6, 1.0)]), whole, 3)  # a line twice
    assert not kills.same(left([(6, 1.5)]), whole, 3)  # a line is missing
    assert not kills.same({**whole, "state": "other"}, whole, 3)


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
