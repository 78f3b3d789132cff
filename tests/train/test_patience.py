"""A training that gets no better ends, and one that is resumed ends at the same step."""

import json

import pytest

from crnn_jax.errors import UserError
from crnn_jax.flags import resolve_config
from crnn_jax.train import loop
from crnn_jax.train.loop import train
from crnn_jax.train.patience import Patience

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("scores", "limit", "is_over"),
    [
        ([0.5, 0.6, 0.6], 2, False),
        ([0.5, 0.6, 0.6, 0.5], 2, True),
        ([0.5, 0.6, 0.6, 0.5, 0.7], 2, False),
        ([0.5, 0.4, 0.4], 0, False),
        ([0.5], 1, False),
        ([], 1, False),
        ([0.5, 0.5], 1, True),
    ],
)
def test_the_end_is_counted_from_the_best(scores, limit, is_over):
    patience = Patience(limit, {10 * step: score for step, score in enumerate(scores)})
    assert patience.is_over == is_over


KEYS = {
    "data__validation": 0.1,
    "eval__patience": 2,
    "eval__every": "2 steps",
    "checkpoint__every": "4 steps",
    "duration": "20 steps",
    "model__hidden_units": 4,
}


@pytest.fixture
def falling(monkeypatch):
    """Makes every validation a little worse than the one before: the third is the end."""
    made = loop.evaluator_of

    def evaluator_of(experiment, dataset, split):
        evaluator = made(experiment, dataset, split)

        def worse(state, *arguments):
            return {**evaluator(state, *arguments), "accuracy": 0.5 - int(state.step) / 1000}

        return worse if split == "validation" else evaluator

    monkeypatch.setattr(loop, "evaluator_of", evaluator_of)


def test_a_run_ends_early_and_once(tiny, tmp_path, falling, capsys, monkeypatch):
    config = tiny("rnn", **KEYS)
    result = train(config, str(tmp_path / "a"))
    assert result["steps"] == 6
    assert result["epochs"] == pytest.approx(6 * 64 / 1293, rel=1e-2)
    assert "stopped early ('eval.patience'): validation accuracy is not" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "a/metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines) == 6
    assert sum("test/accuracy" in line for line in lines) == 1
    assert train(config, str(tmp_path / "a")) == result
    assert "already finished" in capsys.readouterr().out
    # Killed after its last checkpoint: it does not train on.
    (tmp_path / "a/result.json").unlink()
    assert train(config, str(tmp_path / "a"))["steps"] == 6
    # Killed after step 5, with checkpoints of step 4: what was validated before counts.
    with monkeypatch.context() as patch:
        patch.setattr(loop.Writers, "write", _killed_at_6(loop.Writers.write))
        with pytest.raises(KeyboardInterrupt):
            train(config, str(tmp_path / "b"))
    resumed = train(config, str(tmp_path / "b"))
    assert "resuming at step 4" in capsys.readouterr().out
    assert (resumed["steps"], resumed["test"]) == (6, result["test"])


def _killed_at_6(write):
    def killed(self, step, values):
        if step >= 6:
            raise KeyboardInterrupt
        write(self, step, values)

    return killed


def test_there_must_be_something_to_look_at(tiny, tmp_path):
    with pytest.raises(UserError, match=r"'eval\.patience' is 2, which needs a validation part"):
        train(tiny("rnn", eval__patience=2), str(tmp_path / "a"))
    assert not (tmp_path / "a" / "config.json").exists()
    keys = {"eval.patience": "2", "eval.every": "0 steps", "data.validation": "0.1"}
    with pytest.raises(UserError, match=r"counts validations: set 'eval\.every' to more than 0"):
        resolve_config("digits:rnn", keys)
    with pytest.raises(UserError, match=r"expects classes of the data, 0, 1, .*found 'cat'"):
        train(tiny("rnn", optim__class_weights="cat:2"), str(tmp_path / "b"))
    assert not (tmp_path / "b" / "config.json").exists()
    keys = {"data.sampling": "balanced", "optim.class_weights": "balanced"}
    with pytest.raises(UserError, match="a rare class would count twice"):
        resolve_config("digits:rnn", keys)
    with pytest.raises(UserError, match=r"'data\.sampling' is not read by task 'segmentation'"):
        resolve_config("digit_scenes:reseg", {"data.sampling": "balanced"})
