"""Numbers that are none: found, named, kept for replay, skipped; and the ways on."""

import contextlib
import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.checkpoint import Checkpoints
from crnn_jax.errors import NotFiniteError, UserError
from crnn_jax.run import open_run
from crnn_jax.train import loop
from crnn_jax.train.evaluator import Evaluator
from crnn_jax.train.loop import train
from crnn_jax.train.programs import make_step
from tests.train.test_loop import assert_equal_to_the_bit, final_state, read_lines

pytestmark = pytest.mark.long

EXPLODES = {"optim__name": "sgd", "optim__learning_rate": 1e18, "model__norm": False}
EXPLODES |= {"optim__warmup": "4 steps", "checkpoint__every": "1 steps", "log__every": "1 steps"}


def poisoned(whole, steps):
    """Returns a pipeline's `assemble` with weights of NaN at those steps, counted from 0."""

    def assemble(inputs, step):
        batch = whole(inputs, step)
        bad = jnp.isin(step, jnp.array(steps))
        return {**batch, "weight_B": jnp.where(bad, jnp.nan, batch["weight_B"])}

    return assemble


def run_poisoned(start_run, config, poison, num_steps):
    """Returns the states and the sums of single steps, with NaN where `poison` says."""
    experiment, _, pipeline, _, state = start_run(config)
    step = make_step(experiment, poisoned(pipeline.assemble, poison))
    inputs, states, sums = next(pipeline.train_inputs(0)), [], []
    for _ in range(num_steps):
        state, totals = step(jax.tree.map(jnp.copy, state), experiment.task.empty(), inputs)
        states.append(state)
        sums.append(totals)
    return states, sums


@pytest.mark.parametrize("reproducible", [False, True])
def test_a_skipped_step_leaves_all_but_the_count_and_the_average(tiny, start_run, reproducible):
    keys = {"reproducible": reproducible, "mesh__data": 1, "optim__ema_decay": 0.5}
    config = tiny("cnn", optim__skip_nonfinite=2, **keys)
    states, sums = run_poisoned(start_run, config, [1, 2], 4)
    for skipped in (1, 2):
        for name in ("params", "batch_stats"):
            assert_equal_to_the_bit(getattr(states[0], name), getattr(states[skipped], name))
        assert int(states[skipped].step) == skipped + 1
        assert int(sums[skipped].num_examples) == 0
        assert float(sums[skipped].loss_sum) == 0.0
    counts = [(int(s.skipped["in_a_row"]), int(s.skipped["total"])) for s in states]
    assert counts == [(0, 0), (1, 1), (2, 2), (0, 2)]
    # Sums of an average with decay 1/2 over weights w, w, w: w (1 - 1/8).
    kernel, mean = (jax.tree.leaves(x)[0] for x in (states[2].params, states[2].ema["params"]))
    np.testing.assert_allclose(mean, kernel * (1 - 0.5**3), rtol=1e-5)
    assert int(sums[3].num_examples) == config.batch_size
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(states[3]))


def test_one_more_in_a_row_than_may_be_skipped_is_taken(tiny, start_run):
    config = tiny("cnn", optim__skip_nonfinite=1, mesh__data=1)
    states, sums = run_poisoned(start_run, config, [0, 1], 2)
    assert np.isfinite(jax.tree.leaves(states[0].params)[0]).all()
    assert np.isnan(jax.tree.leaves(states[1].params)[0]).all()
    assert math.isnan(float(sums[1].weight_sum))
    assert int(states[1].skipped["total"]) == 1


def test_without_skips_nothing_is_skipped(tiny, start_run):
    states, _ = run_poisoned(start_run, tiny("cnn", mesh__data=1), [0], 1)
    assert states[0].skipped is None
    assert np.isnan(jax.tree.leaves(states[0].params)[0]).all()


def test_skips_are_counted_in_lines_and_result(tiny, tmp_path, monkeypatch):
    make = loop.compile_step

    def compile_poisoned(experiment, assemble, *arguments):
        return make(experiment, poisoned(assemble, [3, 4, 5, 8]), *arguments)

    monkeypatch.setattr(loop, "compile_step", compile_poisoned)
    result = train(tiny("rnn", optim__skip_nonfinite=5), str(tmp_path))
    assert result["skipped_updates"] == 4
    lines = [x for x in read_lines(tmp_path / "metrics.jsonl") if "train/loss" in x]
    found = [(x["step"], x["train/skipped_updates"]) for x in lines]
    assert found == [(3, 0), (4, 1), (6, 3), (8, 3), (9, 4), (12, 4)]
    # Not one example counted in the steps 5 and 6.
    assert [x["train/loss"] is None for x in lines] == [False, True, True, False, True, False]


def test_the_step_is_found_and_its_state_kept(tiny, tmp_path, capsys):
    config = tiny("cnn", **EXPLODES)
    with pytest.raises(UserError, match=r"step \d did it.*'.*nonfinite'") as error:
        train(config, str(tmp_path))
    assert not (tmp_path / "result.json").exists()
    step, state = final_state(config, tmp_path / "nonfinite")
    assert f"step {step + 1} did it" in str(error.value)
    assert "looking for the step that did it: steps " in capsys.readouterr().out
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))
    with pytest.raises(UserError, match=f"up to step {step + 1}: .*this is a replay"):
        train(config, str(tmp_path / "nonfinite"))
    assert (
        json.loads((tmp_path / "nonfinite" / "config.json").read_text())["optim"]["name"] == "sgd"
    )


def test_steps_are_taken_again_from_the_weights_that_began_the_run(tiny, finished, tmp_path):
    source = finished("cnn", name="source", model__norm=False)
    at_once = {"optim__warmup": "0 steps", "steps_per_dispatch": 4}
    late = {"checkpoint__every": "100 steps", "init__from": str(source)}
    config = tiny("cnn", **{**EXPLODES, **at_once, **late})
    with pytest.raises(UserError, match="step 4 did it"):
        train(config, str(tmp_path / "run"))
    step, state = final_state(config, tmp_path / "run/nonfinite")
    assert step == 0
    kept = open_run(source).weights["params"]  # those that it reports
    jax.tree.map(np.testing.assert_array_equal, state.params, kept)


def test_the_advice_can_be_followed_in_the_same_workdir(tiny, tmp_path, capsys):
    with pytest.raises(UserError, match="which may change in this workdir"):
        train(tiny("cnn", **EXPLODES), str(tmp_path))
    with pytest.raises(UserError, match=r"another config: seed is 0 there and 1 here"):
        train(tiny("cnn", **EXPLODES, seed=1), str(tmp_path))
    good = {"optim__learning_rate": 0.01, "optim__clip_norm": 1.0, "optim__skip_nonfinite": 3}
    config = tiny("cnn", **{**EXPLODES, **good})
    result = {}
    while not result:  # a checkpoint whose loss is not finite is given up, one at a time
        with contextlib.suppress(UserError):
            result = train(config, str(tmp_path))
    out = capsys.readouterr().out
    assert "optim.learning_rate is 0.01 from here on; it was 1e+18" in out
    assert "optim.clip_norm is 1.0 from here on; it was 0.0" in out
    assert math.isfinite(result["test"]["loss"])
    assert result["skipped_updates"] == 0
    assert open_run(tmp_path).config.optim.clip_norm == 1.0
    with pytest.raises(UserError, match=r"optim\.learning_rate is 0\.01 there"):
        train(tiny("cnn", **EXPLODES), str(tmp_path))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("adamw", {"skip_nonfinite": 3}, {"clip_norm": 2.0, "skip_nonfinite": 1}),
        ("muon", {}, {"clip_norm": 2.0, "skip_nonfinite": 1}),
    ],
)
def test_a_state_is_restored_with_and_without_clipping_and_skips(
    tiny, tmp_path, start_run, name, before, after
):
    from crnn_jax.train.restore import restore

    def start(keys):
        named = {f"optim__{key}": value for key, value in keys.items()}
        return start_run(tiny("rnn", optim__name=name, optim__lookahead_steps=3, **named))

    *_, state = start(before)
    with Checkpoints(tmp_path, keep_latest=1, keep_best=False) as checkpoints:
        checkpoints.save(7, dataclasses.replace(state, step=jnp.full_like(state.step, 7)))
    now, *_, fresh = start(after)
    found = restore(Checkpoints(tmp_path, keep_latest=1, keep_best=False), now)
    assert found is not None
    step, restored = found
    assert step == 7
    assert jax.tree.structure(restored) == jax.tree.structure(fresh)
    assert_equal_to_the_bit(jax.tree.leaves(state.opt_state), jax.tree.leaves(restored.opt_state))
    assert_equal_to_the_bit(state.params, restored.params)


def test_an_evaluation_that_is_not_finite_is_no_result(tiny, tmp_path, monkeypatch):
    """Finite weights may have no finite loss: such a checkpoint is not gone on from."""
    config = tiny("rnn")
    summary = Evaluator._summary

    def infinite(self, totals, step):
        return summary(self, totals.replace(loss_sum=jnp.float32(jnp.inf)), step)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "_summary", infinite)
        with pytest.raises(
            UserError, match=r"finite loss of evaluated examples, found inf at step 12"
        ):
            train(config, str(tmp_path))
        assert not (tmp_path / "result.json").exists()
        with pytest.raises(NotFiniteError):
            open_run(tmp_path).evaluate("test")
    assert final_state(config, tmp_path)[0] == 8
    assert final_state(config, tmp_path / "nonfinite")[0] == 11
    assert train(config, str(tmp_path))["steps"] == 12


def test_predictions_that_are_not_finite_are_none(finished):
    run = open_run(finished())
    nan = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), (run.state.params, run.state.ema))
    state = dataclasses.replace(run.state, params=nan[0], ema=nan[1])
    run = dataclasses.replace(run, state=state)
    with pytest.raises(UserError, match=r"expected finite predictions of run .*--step"):
        run.apply(np.full((1, 8, 8, 1), 255, np.uint8))
