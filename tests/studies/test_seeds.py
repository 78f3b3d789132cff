"""A study over seeds: one run a seed, a results file with the spread."""

import json

import numpy as np
import pytest

from crnn_jax.errors import UserError
from crnn_jax.flags import resolve_config
from crnn_jax.studies import seeds


def test_interval_by_hand():
    # Student's t of two degrees of freedom: 4.3027; the deviation of 1, 2, 3 is 1.
    assert seeds.interval95([1.0, 2.0, 3.0]) == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)
    assert seeds.interval95([1.0]) is None


def test_two_seeds_through_the_loop(tmp_path, capsys):
    arguments = [
        "--config=configs/digits.py:rnn,model.hidden_units=8",
        "--seeds=2",
        f"--workdir={tmp_path}/runs",
        f"--results={tmp_path}/results",
        "--name=two",
        "--config.duration=6 steps",
        "--config.optim.warmup=1 steps",
    ]
    seeds.main(arguments)
    content = json.loads((tmp_path / "results" / "two.json").read_text())
    (row,) = content["rows"]
    runs = [json.loads((tmp_path / f"runs/seed_{i}/result.json").read_text()) for i in (0, 1)]
    assert row["accuracies"] == [run["test"]["accuracy"] for run in runs]
    assert row["accuracy_mean"] == pytest.approx(np.mean(row["accuracies"]))
    assert row["n"] == 2
    assert row["seeds"] == [0, 1]
    assert runs[0]["test"] != runs[1]["test"]
    capsys.readouterr()
    seeds.main(arguments)  # finished runs are not run again
    assert capsys.readouterr().out.count("already finished") == 2


def test_the_seed_is_the_studys(capsys):
    with pytest.raises(SystemExit) as stop:
        seeds.main(["--config=configs/digits.py:rnn", "--config.seed=3"])
    assert stop.value.code == 2
    assert "--seeds sets it" in capsys.readouterr().err


def test_runs_that_are_compared_have_one_score():
    digits = resolve_config("configs/digits.py:crnn", {})
    scenes = resolve_config("configs/digit_scenes.py:reseg", {})
    assert seeds.score_of(digits, digits) == "accuracy"
    assert seeds.score_of(scenes) == "mean_iou"
    with pytest.raises(UserError, match="judged by accuracy, as 'classification' is, found 'seg"):
        seeds.score_of(digits, scenes)


def test_scores_of_other_tasks_are_kept_with_all_that_was_found():
    names = "epochs parameters flops_per_image images_per_second seconds config_hash git_commit"
    facts: dict = {**dict.fromkeys(f"{names} versions".split(), 0), "devices": "2 cores"}
    results = [
        {**facts, "seed": seed, "test": {"mean_iou": value, "iou": [value, None]}}
        for seed, value in enumerate((0.5, 0.75))
    ]
    row = seeds.summarize("reseg", results, "mean_iou")
    assert row["mean_iou_mean"] == 0.625
    assert row["test"] == [result["test"] for result in results]
    assert not {"accuracies", "correct", "accuracy_mean"} & row.keys()
