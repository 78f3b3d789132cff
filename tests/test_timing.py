"""Programs run in turn, and what compiles is not timed."""

import time

import pytest

from crnn_jax.timing import calls_to_fill, compare, interleave, per_call, spread


def test_turns():
    order = []
    programs = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = interleave(programs, repeats=2)
    assert order == ["a", "b"] * 3
    assert [len(seconds[name]) for name in "ab"] == [2, 2]


def test_a_program_may_time_itself():
    assert interleave({"far": lambda: 7.5}, repeats=2) == {"far": [7.5, 7.5]}


def test_spread():
    assert spread([3.0, 1.0, 2.0, 9.0]) == [1.0, 2.5, 9.0]


def test_calls_to_fill():
    calls = []
    assert calls_to_fill(calls.append, 1e3, 50) == 50
    assert calls_to_fill(calls.append, 0.0, 50) == 1
    assert calls == [1] * 4


def test_seconds_are_those_of_one_call(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def work(calls):
        clock[0] += 0.002 * calls

    found = per_call({"work": work}, 3, fill=0.02, most=5)["work"]
    assert found == pytest.approx([0.002] * 3)  # and not those of five


def test_ratios_are_of_one_round(monkeypatch):
    """A machine that becomes slower and slower: each round's ratio is 2 all the same."""
    clock, speed = [0.0], [1.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def work(seconds):
        def run(calls):
            clock[0] += calls * seconds * speed[0]

        return run

    def slower(calls):
        work(1.0)(calls)
        speed[0] *= 3

    first, second, ratios = compare(work(2.0), slower, 3, fill=0.0, most=9)
    assert ratios == [2.0, 2.0, 2.0]
    assert first[2] > 8 * first[0]
    assert second[2] > 8 * second[0]
