"""What may change in a run: more epochs with --extend, and keys that only place or report it."""

import json

import numpy as np
import pytest

from crnn_jax.errors import UserError
from crnn_jax.main import main
from crnn_jax.train.loop import train
from tests.train.test_loop import assert_equal_to_the_bit, final_state, read_lines

pytestmark = pytest.mark.long


def test_a_finished_run_is_extended(tiny, tmp_path, capsys):
    # With a constant rate the longer run is the same one.
    keys = {"optim__schedule": "constant", "checkpoint__every": "6 steps"}
    first = train(tiny("rnn", **keys), str(tmp_path / "a"))
    longer = tiny("rnn", **keys, duration="20 steps")
    with pytest.raises(UserError, match=r"duration is '12 steps' there.*with --extend"):
        train(longer, str(tmp_path / "a"))
    result = train(longer, str(tmp_path / "a"), extend=True)
    out = capsys.readouterr().out
    assert "extended from 12 to 20 steps: from here on the learning rate's schedule" in out
    assert "resuming at step 12/20" in out
    train(longer, str(tmp_path / "whole"))
    assert_equal_to_the_bit(*(final_state(longer, tmp_path / name) for name in ("a", "whole")))
    assert (
        json.loads((tmp_path / "a" / "result_12_steps.json").read_text())["test"] == first["test"]
    )
    lines = read_lines(tmp_path / "a" / "metrics.jsonl")
    assert [x["step"] for x in lines if "test/accuracy" in x] == [12, 20]
    assert result["steps"] == 20
    # From now on it is that run.
    assert train(longer, str(tmp_path / "a"))["steps"] == 20
    with pytest.raises(UserError, match=r"duration is '20 steps' there and '12 steps' here"):
        train(tiny("rnn", **keys), str(tmp_path / "a"))


def test_the_schedule_is_that_of_the_longer_run(tiny, tmp_path):
    train(tiny("rnn", log__every="1 steps"), str(tmp_path))
    longer = tiny("rnn", log__every="1 steps", duration="24 steps")
    train(longer, str(tmp_path), extend=True)
    lines = read_lines(tmp_path / "metrics.jsonl")
    rates = {x["step"]: x["train/learning_rate"] for x in lines if "train/loss" in x}
    peak = longer.optim.learning_rate
    for step, steps in ((12, 12), (13, 24), (24, 24)):  # a cosine after 2 steps of warm-up
        expected = peak * (1 + np.cos(np.pi * (step - 1 - 2) / (steps - 2))) / 2
        assert rates[step] == pytest.approx(expected, rel=1e-4), step


@pytest.mark.parametrize("duration", ["11 steps", "1 epochs", "12.0 steps"])
def test_an_extension_is_longer(tiny, finished, duration):
    workdir = finished(duration="23 steps")
    before = {p: p.read_bytes() for p in workdir.glob("*.json*")}
    with pytest.raises(UserError, match=r"--extend expects a 'duration' of more steps than .* 23 "):
        train(tiny("rnn", duration=duration), str(workdir), extend=True)
    assert {p: p.read_bytes() for p in workdir.glob("*.json*")} == before


def test_a_kill_while_an_extension_begins(tiny, finished):
    """The result is moved before the config says more: the old run ends again, as it was."""
    workdir = finished()
    first = json.loads((workdir / "result.json").read_text())
    (workdir / "result.json").rename(workdir / "result_12_steps.json")
    again = train(tiny("rnn"), str(workdir))
    assert again["test"] == first["test"]
    lines = read_lines(workdir / "metrics.jsonl")
    assert [x["step"] for x in lines if "test/accuracy" in x] == [12]


def test_keys_that_report_may_change_in_a_finished_run(tiny, finished, capsys):
    workdir = finished(data__validation=0.1)
    other = tiny(
        "rnn",
        data__validation=0.1,
        checkpoint__every="2 steps",
        checkpoint__keep_latest=5,
        eval__batch_size=100,
        eval__every="3 steps",
        log__every="1 steps",
    )
    first = json.loads((workdir / "result.json").read_text())
    assert train(other, str(workdir))["test"] == first["test"]
    assert "already finished" in capsys.readouterr().out


def test_the_flag_is_mains(tiny, tmp_path, monkeypatch):
    seen = {}

    def keep(config, workdir, *, extend, accept_data):
        assert not accept_data
        seen.update(extend=extend, duration=config.duration)

    monkeypatch.setattr("crnn_jax.train.loop.train", keep)
    command = ["--config=configs/digits.py:rnn", f"--workdir={tmp_path}"]
    main(command)
    assert seen["extend"] is False
    main([*command, "--extend", "--config.duration=40 epochs"])
    assert seen == {"extend": True, "duration": "40 epochs"}
