"""Runs are kept as they end, and not trained again where their file is."""

import importlib
import itertools
import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from crnn_jax.errors import UserError
from crnn_jax.studies import kept_data, runs


@pytest.fixture
def folders(tmp_path):
    return runs.Folders(tmp_path / "kept", tmp_path / "runs")


def names(paths):
    return [pathlib.Path(path).name for path in paths]


def test_a_kept_run_is_not_trained_again_even_without_its_workdir(tiny, folders, capsys):
    config = tiny("rnn", duration="4 steps", data__validation=0.2, eval__every="3 steps")
    first = runs.run_or_read(folders, "row", config)
    lines = (folders.workdir / "row_seed_0" / "metrics.jsonl").read_text().splitlines()
    found = [values for values in map(json.loads, lines) if "validation/loss" in values]
    assert [values["step"] for values in found] == [3, 4]
    assert (
        first["validation"]["loss"] == found[-1]["validation/loss"] != found[0]["validation/loss"]
    )
    shutil.rmtree(folders.workdir)
    assert runs.run_or_read(folders, "row", config) == first
    assert "already finished" in capsys.readouterr().out
    assert not folders.workdir.exists()
    kept = json.loads((folders.kept / "row_seed_0.json").read_text())
    assert kept == first
    assert kept["config"]["model.hidden_units"] == 8
    assert kept["test"]["num_examples"] == 360
    assert kept["validation"].keys() == {"accuracy", "loss"}


def test_a_file_of_another_config_is_refused_before_any_run(tiny, folders, stub):
    points = {"a": tiny("rnn"), "b": tiny("cnn")}
    runs.run_points(points, ["b"], 1, folders)
    points["b"].optim.learning_rate = 0.5
    with pytest.raises(UserError, match=r"optim\.learning_rate is 0.004 there and 0.5 here"):
        runs.run_points(points, points, 1, folders)
    assert names(stub.trained) == ["b_seed_0"]
    points["b"].optim.learning_rate = 0.004
    points["b"].log.seconds = 1.0  # only places or reports a run
    runs.run_points(points, points, 1, folders)
    assert names(stub.trained) == ["b_seed_0", "a_seed_0"]


def test_a_kept_file_of_other_data_is_refused_before_any_run(tiny, folders, tmp_path, capsys):
    photos = tmp_path / "photos"
    for part, name in itertools.product(("train", "test"), ("ant", "bee")):
        (photos / part / name).mkdir(parents=True)
        for index in range(4):
            image = np.full((8, 8, 3), 40 * index + 9 * len(name + part), np.uint8)
            Image.fromarray(image).save(photos / part / name / f"{index}.png")
    config = tiny("rnn", duration="2 steps", batch_size=4, data__source=f"folder:{photos}")
    runs.run_points({"a": config}, ["a"], 1, folders)
    (photos / "train" / "ant" / "0.png").rename(photos / "train" / "bee" / "4.png")
    with pytest.raises(UserError, match=r"'.*a_seed_0\.json' is of other data.*the train split"):
        runs.run_points({"b": config, "a": config}, ["b", "a"], 1, folders)
    assert not runs.kept_path(folders, "b", 0).exists()
    shutil.rmtree(photos)  # as where a study goes on without the data
    kept_data.facts_now.cache_clear()
    capsys.readouterr()
    runs.run_points({"a": config}, ["a"], 1, folders)
    assert "were not compared: " in capsys.readouterr().err


def test_a_kept_file_of_an_older_version_is_compared_without_newer_keys(tiny, folders, stub):
    config = tiny("rnn")
    runs.run_or_read(folders, "a", config)
    path = runs.kept_path(folders, "a", 0)
    kept = json.loads(path.read_text())
    del kept["config"]["optim.lookahead_ramp"], kept["config"]["steps_per_dispatch"]
    kept["config_hash"] = "of another version"
    path.write_text(json.dumps(kept))
    assert runs.read_kept(path, config) == kept
    config.optim.lookahead_ramp = 1.0
    with pytest.raises(UserError, match=r"lookahead_ramp is 0\.0 there and 1\.0 here"):
        runs.read_kept(path, config)
    path.write_text("[]")
    with pytest.raises(UserError, match="not a kept run"):
        runs.read_kept(path, config)


def test_what_is_left_to_the_run_is_no_other_config(tiny, folders, stub):
    config = tiny("cnn", precision="bfloat16")
    runs.run_or_read(folders, "a", config)
    path = runs.kept_path(folders, "a", 0)
    kept = runs.read_kept(path, tiny("cnn", precision="auto"))
    assert kept is not None
    assert kept["config"]["precision"] == "bfloat16"
    with pytest.raises(UserError, match="precision is 'bfloat16' there and 'float32' here"):
        runs.read_kept(path, tiny("cnn", precision="float32"))


def test_every_point_has_a_seed_before_the_next_seed_starts(tiny, folders, stub):
    points = {"a": tiny("rnn"), "b": tiny("cnn")}
    runs.run_points(points, points, 2, folders)
    assert names(stub.trained) == ["a_seed_0", "b_seed_0", "a_seed_1", "b_seed_1"]
    found = runs.finished(points, folders)
    assert [result["seed"] for result in found["b"]] == [0, 1]


def test_finished_takes_partial_seeds_and_leaves_other_configs_out(tiny, folders, stub, capsys):
    points = {"rnn": tiny("rnn"), "rnn_deep": tiny("rnn_deep"), "cnn": tiny("cnn")}
    with pytest.raises(UserError, match="found none"):
        runs.finished(points, folders)
    runs.run_points(points, ["rnn_deep"], 3, folders)
    runs.run_points(points, ["rnn", "cnn"], 1, folders)
    points["cnn"].batch_size = 32
    found = runs.finished(points, folders)
    assert {name: len(results) for name, results in found.items()} == {"rnn": 1, "rnn_deep": 3}
    assert "left out" in capsys.readouterr().out


def test_paired_differences_by_hand():
    def results(**accuracies):
        return [{"seed": int(k[1:]), "test": {"accuracy": v}} for k, v in accuracies.items()]

    pair = runs.paired_difference(results(s0=0.9, s1=0.8, s2=0.7), results(s1=0.7, s0=0.6))
    assert pair is not None
    assert pair["seeds"] == [0, 1]
    assert pair["differences"] == pytest.approx([0.3, 0.1])
    assert pair["mean"] == pytest.approx(0.2)
    # Student's t of one degree of freedom, 12.706, times the deviation 0.1414, over sqrt(2).
    assert pair["ci95"] == pytest.approx(12.706 * 0.1, rel=1e-4)
    single = runs.paired_difference(results(s0=0.9), results(s0=0.8))
    assert single is not None
    assert single["ci95"] is None
    assert runs.paired_difference(results(s0=0.9), results(s1=0.8)) is None


def test_the_figures_of_the_last_validation_are_the_task_s(tmp_path):
    lines = [
        {"step": 2, "validation/loss": 3.0, "validation/mean_iou": 0.1},
        {"step": 4, "validation/pixel_accuracy": 0.5, "validation/mean_iou": 0.4},
        {"step": 4, "test/mean_iou": 0.9},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = runs.last_validation(tmp_path, "mean_iou")
    assert found == {"mean_iou": 0.4, "pixel_accuracy": 0.5}


SCENES = "configs/scenes.py"
EVERY_MODEL = """
from crnn_jax import config as defaults

def get_config(argument):
    config = defaults.default_config(defaults.parse_argument(argument, defaults.MODEL_DEFAULTS)[0])
    config.task, config.data.source = "segmentation", "digit_scenes"
    return config
"""


@pytest.mark.parametrize(
    ("study", "flags"),
    [
        ("sensitivity", [f"--config={SCENES}:reseg"]),
        ("race", [f"--config={SCENES}:reseg", "--target=0.5"]),
        ("recurrence", [f"--config={SCENES}:crnn"]),
        ("table1", ["--dataset=scenes", "--budget=full"]),
        ("table1", ["--dataset=scenes", "--budget=equal_flops"]),
        ("efficiency", ["--dataset=scenes", "--budget=full"]),
    ],
)
def test_a_study_of_accuracies_takes_no_other_task(
    stub, tmp_path, capsys, monkeypatch, study, flags
):
    (tmp_path / "configs").mkdir()
    (tmp_path / SCENES).write_text(EVERY_MODEL)
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"crnn_jax.studies.{study}")
    with pytest.raises(SystemExit) as stop:
        module.main([f"--results={tmp_path}", *flags])
    assert stop.value.code == 2
    assert stub.trained == []
    (line,) = capsys.readouterr().err.splitlines()
    assert "expects a task that is judged by its accuracy, found task 'segmentation'" in line


@pytest.mark.parametrize(
    ("study", "flags"),
    [
        ("recurrence", ["--config=configs/moving_digits.py:crnn"]),
        ("table1", ["--dataset=moving_digits", "--budget=full", "--rows=cnn,crnn"]),
        ("efficiency", ["--dataset=moving_digits", "--budget=full", "--sizes=1,2"]),
    ],
)
def test_a_study_of_accuracies_takes_videos(stub, tmp_path, capsys, study, flags):
    module = importlib.import_module(f"crnn_jax.studies.{study}")
    module.main([f"--results={tmp_path}", f"--workdir={tmp_path}/w", "--seeds=1", *flags])
    (path,) = tmp_path.glob("*.json")
    rows = json.loads(path.read_text())["rows"]
    assert [row["accuracy_mean"] for row in rows] == [0.5] * len(stub.trained)


def test_mistakes_on_the_command_line():
    assert runs.choose("--rows", "b,a", ["a", "b", "c"]) == ["a", "b"]
    assert runs.choose("--rows", "", ["a", "b"]) == ["a", "b"]
    with pytest.raises(UserError, match="did you mean 'crnn'"):
        runs.choose("--rows", "crn", ["cnn_x", "crnn"])
    with pytest.raises(UserError, match=r"no --config\.seed"):
        runs.study_overrides(["--config.seed=3"])
    with pytest.raises(UserError, match=r"no --config\.duration"):
        runs.study_overrides(["--config.duration=3 steps"], "duration")
    assert runs.config_name("configs/cifar10.py:crnn_small,model.width=8") == (
        "cifar10_crnn_small_model.width_8"
    )


@pytest.mark.parametrize("damaged", ["{", "[]", "[" * 100_000])
def test_a_damaged_kept_file_is_named(tiny, tmp_path, damaged):
    path = tmp_path / "a_seed_0.json"
    path.write_text(damaged)
    with pytest.raises(UserError, match=r"a_seed_0\.json'.*delete it"):
        runs.read_kept(path, tiny("rnn"))
