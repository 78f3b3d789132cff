"""Every command by one name, and the models that come with the package."""

import importlib.util
import json
import pathlib
import runpy
import sys

import pytest
from PIL import Image

import crnn_jax
from crnn_jax import __main__ as command
from crnn_jax import evaluate, predict, pretrained
from crnn_jax.errors import UserError
from crnn_jax.export import package
from crnn_jax.weight_files import read_arrays
from crnn_jax.weights import load_weights, sizes


def test_every_command_is_a_module_and_is_listed(monkeypatch, capsys):
    for name in command.COMMANDS:
        assert importlib.util.find_spec(command.module_of(name) or "") is not None, name
    assert command.module_of("study.saliency") == "crnn_jax.studies.saliency"
    monkeypatch.setattr(sys, "argv", ["crnn-jax", "--help"])
    command.main()
    words = set(capsys.readouterr().out.split())
    assert set(command.COMMANDS) | set(command.studies()) <= words


def test_every_study_that_can_be_run_is_a_command():
    folder = pathlib.Path(command.__file__).parent / "studies"
    files = {path.stem for path in folder.glob("*.py") if "def main(" in path.read_text()}
    files -= {"scaling_point"}  # a process of study.scaling
    assert {name.removeprefix("study.") for name in command.studies()} == files


def test_a_command_gets_its_own_flags(monkeypatch):
    seen = {}

    def run_module(module, **kwargs):
        seen.update(module=module, argv=sys.argv, **kwargs)

    monkeypatch.setattr(runpy, "run_module", run_module)
    monkeypatch.setattr(sys, "argv", ["crnn-jax", "train", "--workdir=a"])
    command.main()
    assert seen["module"] == "crnn_jax.main"
    assert seen["argv"] == ["crnn-jax", "--workdir=a"]
    assert seen["run_name"] == "__main__"


@pytest.mark.parametrize(
    ("name", "closest", "expected"),
    [
        ("trian", "train", "one of train, evaluate"),
        ("study.salency", "study.saliency", "one of study.ablation, "),
        ("study.corruptions", "", "one of study.ablation, "),
        ("study.a.b", "", "one of study.ablation, "),
    ],
)
def test_an_unknown_command_is_one_line(name, closest, expected, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["crnn-jax", name])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: expected {expected}")
    assert f"found '{name}'" in line
    assert (f"did you mean '{closest}'" in line) == bool(closest)


@pytest.mark.parametrize("name", pretrained.names())
def test_a_model_of_the_package_says_where_it_is_from(name):
    path = pretrained.find(name)
    assert path.stat().st_size <= package.LARGEST
    _, metadata = read_arrays(path)
    about = json.loads(metadata["about"])
    record = about["record"]
    # The file computes in float32, and a run of bfloat16 rounds a few examples otherwise.
    in_float32 = record["result"].get("precision", "float32") == "float32"
    apart = abs(record["result"]["test"]["num_correct"] - about["test"]["num_correct"])
    assert apart <= (0 if in_float32 else 10)
    assert record["result"]["git_commit"] == record["commit"]
    assert len(record["commit"]) == 40
    assert record["command"].startswith("python -m crnn_jax.main --config=")
    texts = [text for text in json.dumps(metadata).split('"') if text.startswith("/")]
    assert texts == []
    assert about["certificate"]["largest_difference"] < 1e-5


def test_digits_are_read_by_the_model_of_the_package(tmp_path, capsys):
    from crnn_jax.data.digits import load

    assert "digits_crnn" in crnn_jax.list_models()
    assert crnn_jax.list_models(trained=True) == pretrained.names()
    test = load("", crnn_jax.load("digits_crnn").config.data, 0).test
    paths = []
    for index in range(3):
        paths.append(str(tmp_path / f"{index}.png"))
        Image.fromarray(test.read(index)["image"][..., 0]).save(paths[-1])
    predict.main(["--model=digits_crnn", *paths])
    found = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
    assert found == [str(test.read(index)["label"]) for index in range(3)]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("digits_crnn", "digits"),
        pytest.param("cifar10_crnn", "tfds:cifar10", marks=pytest.mark.slow),
    ],
)
def test_a_model_of_the_package_has_the_score_that_it_says(name, source, request, capsys):
    if source.startswith("tfds"):
        request.getfixturevalue("tfds_dir")
    _, metadata = read_arrays(pretrained.find(name))
    test = json.loads(metadata["about"])["test"]
    evaluate.main([f"--model={name}", f"--data_source={source}"])
    counts = f"({test['num_correct']}/{test['num_examples']})"
    assert capsys.readouterr().out == f"test accuracy {test['accuracy']:.4f} {counts}\n"


def test_a_training_may_begin_with_a_model_of_the_package(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    weights = load_weights("digits_crnn")
    assert weights.metadata["source"] == "digits_crnn"
    assert weights.params["head/dense/kernel"].shape == (128, 10)
    assert sizes("digits_crnn").input_shape == (8, 8, 1)
    assert sizes("digits_crnn").model["name"] == "crnn"
    with pytest.raises(UserError, match=r"found nothing there.*did you mean 'digits_crnn'"):
        load_weights("digit_crnn")
    with pytest.raises(UserError, match=r"found no 'digit_crnn' \(did you mean 'digits_crnn'"):
        crnn_jax.load("digit_crnn")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model=digit_crnn"], "found 'digit_crnn' (did you mean 'digits_crnn'?)"),
        (["--file=no.onnx"], "--file expects a file of crnn_jax.export, found no 'no.onnx'"),
        (["--model=digits_crnn", "--step=3"], "--step is of a run: expected --workdir"),
        ([], "one of the arguments --workdir --file --model is required"),
        (["--model=a", "--workdir=b"], "not allowed with argument"),
    ],
)
def test_what_is_not_there_is_one_line(flags, expected, capsys):
    with pytest.raises(SystemExit) as stop:
        predict.main([*flags, "a.png"])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_only_a_run_that_can_be_made_again_is_packed(random_digits_run, monkeypatch):
    run, result = random_digits_run, {"git_commit": "a" * 40, "test": {}, "seconds": {}}
    monkeypatch.setattr(package, "read_result", lambda _: result)
    assert package.record(run, "digits:rnn")["command"].endswith(
        "--config=digits:rnn --workdir=WORKDIR"
    )
    assert "seconds" not in package.record(run, "digits:rnn")["result"]
    with pytest.raises(UserError, match=r"--config expects that of the run.*model\.name"):
        package.record(run, "digits:cnn")
    result["git_commit"] += "-dirty"
    with pytest.raises(UserError, match="a commit without changes, found 'aaa"):
        package.record(run, "digits:rnn")


@pytest.fixture
def random_digits_run():
    from types import SimpleNamespace

    from crnn_jax.flags import resolve_config

    return SimpleNamespace(
        config=resolve_config("digits:rnn", {"mesh.data": "1"}), workdir="runs/a"
    )
