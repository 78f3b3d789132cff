"""Tuning reads the validation part alone."""

import json

import pytest

from crnn_jax.data import dataset
from crnn_jax.errors import UserError
from crnn_jax.studies import tune

pytestmark = pytest.mark.long

TINY = [
    "--config=configs/digits.py:rnn,model.hidden_units=8",
    "--config.duration=6 steps",
    "--config.optim.warmup=1 steps",
]


def test_trials_are_judged_on_validation_alone(tmp_path, monkeypatch):
    read = []
    pipeline = dataset.Dataset.pipeline
    monkeypatch.setattr(
        dataset.Dataset,
        "pipeline",
        lambda self, split, *rest: (read.append(split), pipeline(self, split, *rest))[1],
    )
    tune.main(
        [
            *TINY,
            "--trial=optim.learning_rate=0.00001",
            "--validation=0.2",
            f"--workdir={tmp_path}/runs",
            f"--results={tmp_path}",
        ]
    )
    assert set(read) == {"train", "validation"}
    (path,) = tmp_path.glob("*.json")
    assert path.name == "digits_rnn_model.hidden_units_8.json"
    content = json.loads(path.read_text())
    as_it_is, slow = content["trials"]
    assert slow["changes"]["optim.learning_rate"] == "0.00001"
    means = [row["validation_accuracy_mean"] for row in (as_it_is, slow)]
    assert content["best"] == (as_it_is if means[0] >= means[1] else slow)["changes"]
    results = list((tmp_path / "runs").glob("*/seed_0/result.json"))
    assert len(results) == 2
    for result in results:
        found = json.loads(result.read_text())
        assert "test" not in found
        assert found["validation"]["num_examples"] == 287  # a fifth of 1,437


def test_another_task_is_tuned_by_its_score(stub, tmp_path, capsys):
    stub.score, stub.accuracy = "mean_iou", lambda config: 1.0 if config.batch_size == 20 else 0.5
    places = [f"--results={tmp_path}", f"--workdir={tmp_path}/runs", "--seeds=2"]
    tune.main(["--config=configs/digit_scenes.py:reseg", "--trial=batch_size=20", *places])
    content = json.loads((tmp_path / "digit_scenes_reseg.json").read_text())
    assert content["best"] == {"batch_size": "20"}
    assert [row["validation_mean_iou"] for row in content["trials"]] == [[0.25] * 2, [0.5] * 2]
    assert [row["validation_mean_iou_mean"] for row in content["trials"]] == [0.25, 0.5]
    assert "* 0.5000  batch_size=20" in capsys.readouterr().out


def test_a_trial_of_many_keys_has_a_folder_of_its_own():
    many = {f"optim.key_{number}": "é" * 10 for number in range(20)}
    first, second = tune.folder_name(many), tune.folder_name({**many, "optim.key_19": "2"})
    assert first != second
    assert max(len(first.encode()), len(second.encode())) <= 200
    assert tune.folder_name({"a": "1", "b": "c/d"}) == "a=1,b=c_d"
    assert tune.folder_name({}) == "as_is"


def test_a_trial_is_pairs():
    assert tune.parse_trial("a.b=1,c=2") == {"a.b": "1", "c": "2"}
    assert tune.parse_trial("") == {}
    with pytest.raises(UserError, match="KEY=VALUE"):
        tune.parse_trial("a.b")


def test_a_mistake_in_any_trial_comes_before_the_first_run(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        tune.main([*TINY, "--trial=optim.learning_rat=1", f"--workdir={tmp_path}/runs"])
    assert stop.value.code == 2
    assert "did you mean" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
