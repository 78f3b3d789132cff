"""The rate is of the last seconds, the remaining time has the evaluations in it; no clock runs."""

import io
import math

import pytest
from ml_collections import ConfigDict

from crnn_jax import peak_memory as peak_memory_lib
from crnn_jax.train import progress as progress_lib
from crnn_jax.train.progress import Plan, Progress, RecentRate

PLAN = Plan(
    total_steps=1000,
    batch_size=100,
    num_train=10_000,
    eval_every=300,
    save_every=500,
    num_validation=600,
    num_final=3000,
)


class Seconds(dict):
    """Stands for a `Clock`: the seconds of each phase as the test says."""

    def read(self, name):
        return self.get(name, 0.0)


def make(plan=PLAN, stream=None, seconds=0.0, memory=None):
    clock = Seconds()
    used = memory or {"host": 1_300_000_000, "device": None}
    log = ConfigDict({"seconds": seconds})
    return clock, Progress(plan, clock, log, stream or io.StringIO(), lambda: used)  # pyright: ignore[reportArgumentType]


def run_steps(clock, progress, first, last, seconds_each):
    for step in range(first, last + 1):
        progress.step(step)
        clock["train"] = clock.read("train") + seconds_each


def test_the_rate_forgets_what_is_long_ago():
    rate = RecentRate(window=10.0)
    assert math.isnan(rate.read())
    for second in range(100):  # a step a second
        rate.add(second, float(second))
    assert rate.read() == 1.0
    for tenth in range(1, 151):  # then ten
        rate.add(99 + tenth, 99 + tenth / 10)
    assert rate.read() == pytest.approx(10.0)


def test_a_slow_first_step_counts_only_until_there_is_another():
    rate = RecentRate(window=10.0)
    rate.add(1, 0.0)
    rate.add(2, 30.0)
    assert rate.read() == pytest.approx(1 / 30)
    rate.add(3, 30.1)
    assert rate.read() == pytest.approx(10.0)


def test_steps_that_are_longer_than_the_window_have_a_rate():
    rate = RecentRate(window=10.0)
    for step in range(5):
        rate.add(step, step * 60.0)
    assert rate.read() == pytest.approx(1 / 60)


def test_a_rate_keeps_few_samples():
    rate = RecentRate(window=10.0)
    for step in range(100_000):
        rate.add(step, step * 1e-3)
    assert len(rate._samples) < 60
    assert rate.read() == pytest.approx(1000.0)


@pytest.mark.parametrize(
    ("step", "every", "left"),
    [
        *[(0, 300, 4), (299, 300, 4), (300, 300, 3), (900, 300, 1), (999, 300, 1), (1000, 300, 0)],
        *[(0, 500, 2), (500, 500, 1), (0, 1000, 1), (0, 2000, 1)],
    ],
)
def test_how_often_something_is_still_done(step, every, left):
    assert PLAN.left(step, every) == left


def test_the_remaining_time_has_evaluations_and_checkpoints_in_it():
    clock, progress = make()
    run_steps(clock, progress, 1, 201, 0.5)
    assert progress.images_per_second == pytest.approx(200.0)
    # 799 steps of 0.5 s; 4 * 600 + 3000 examples, each guessed at a third of a training example.
    assert progress.seconds_left(201) == pytest.approx(799 * 0.5 + 5400 / 600)
    clock["evaluation"] = 60.0  # with a compilation, so the guess is kept
    progress.step(300)
    assert progress._evaluations == [0.1]
    run_steps(clock, progress, 301, 330, 0.5)
    assert progress.seconds_left(330) == pytest.approx(670 * 0.5 + (3 * 600 + 3000) / 600)
    clock["evaluation"] = 72.0  # 12 s for 600 examples: it is slow, and this is measured
    clock["checkpoint"] = 7.0
    progress.step(331)
    run_steps(clock, progress, 332, 400, 0.5)
    expected = 600 * 0.5 + (3 * 600 + 3000) * 0.02 + 2 * 7.0
    assert progress.seconds_left(400) == pytest.approx(expected)
    assert progress.seconds_left(1000) == pytest.approx(3000 * 0.02)


def test_a_slow_first_step_does_not_make_the_remaining_time_wrong():
    """As a mean since the start it was ten times too long."""
    clock, progress = make()
    progress.step(1)
    clock["train"] = 100.0
    run_steps(clock, progress, 2, 30, 0.1)
    assert progress.seconds_left(30) == pytest.approx(97 + 5400 / 3000, rel=0.01)


def test_a_resumed_run_counts_only_what_it_sees():
    clock = Seconds(train=5000.0, evaluation=70.0, checkpoint=9.0)
    progress = Progress(PLAN, clock, ConfigDict({"seconds": 0.0}), io.StringIO())  # pyright: ignore[reportArgumentType]
    run_steps(clock, progress, 501, 600, 0.5)
    assert progress._evaluations == []
    assert progress.images_per_second == pytest.approx(200.0)


def test_a_line_says_it_all():
    clock, progress = make()
    run_steps(clock, progress, 1, 240, 0.123)
    progress.metrics({"loss": 0.8124, "accuracy": 0.71, "num_examples": 3})
    assert progress.line(240) == (
        "step 240/1000  epoch 2.4/10  loss 0.8124  accuracy 0.71  813 images/s  peak 1.3 GB  "
        "ETA 1:36"
    )
    assert progress.line(241 - 240).endswith("ETA 2:05")


def test_the_memory_shown_is_the_devices_where_it_is_known():
    _, progress = make(memory={"host": 1_000_000_000, "device": 72_340_000_000})
    assert "  peak 72.3 GB" in progress.line(1)


def test_the_first_line_has_no_guesses():
    out = io.StringIO()
    make(stream=out)[1].step(1)
    assert out.getvalue() == "step 1/1000  epoch 0.0/10  peak 1.3 GB\n"


def test_lines_are_rare_and_the_last_step_has_one(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress_lib.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    _, progress = make(stream=out, seconds=5.0)
    for step in range(991, 1001):
        progress.step(step)
        now[0] += 1.0
    shown = [line.split()[1] for line in out.getvalue().splitlines()]
    assert shown == ["991/1000", "996/1000", "1000/1000"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar():
    out = Terminal()
    with make(stream=out)[1] as progress:
        progress.step(1000)
    assert "100%|" in out.getvalue()
    assert "step 1000/1000" in out.getvalue()


class Device:
    def __init__(self, stats):
        self.memory_stats = lambda: stats


def test_the_peak_is_of_the_device_that_used_most(monkeypatch):
    devices = [Device({"peak_bytes_in_use": 5}), Device({"peak_bytes_in_use": 7}), Device({})]
    monkeypatch.setattr(peak_memory_lib.jax, "local_devices", lambda: devices)
    found = peak_memory_lib.peak_memory()
    assert found["device"] == 7
    assert 10**7 < (found["host"] or 0) < 10**12
    monkeypatch.setattr(peak_memory_lib.jax, "local_devices", lambda: [Device(None)])
    assert peak_memory_lib.peak_memory()["device"] is None
