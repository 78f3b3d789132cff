"""A file is compared with its run, and one that differs is not kept."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from crnn_jax import pretrained
from crnn_jax.errors import UserError
from crnn_jax.export import __main__ as command
from crnn_jax.export import certify, formats
from crnn_jax.export.metadata import describe
from crnn_jax.predictor import summary
from crnn_jax.train.loop import train


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    from crnn_jax.flags import resolve_config

    folder = tmp_path_factory.mktemp("export")
    keys = {"model.hidden_units": "8", "duration": "4 steps", "batch_size": "64"}
    train(resolve_config("configs/digits.py:rnn", {**keys, "optim.ema_decay": "0.5"}), str(folder))
    return folder


def test_the_largest_difference():
    first = {"probability": np.array([[0.25, 0.75], [0.5, 0.5]])}
    second = {"probability": np.array([[0.25, 0.75], [0.4, 0.6]])}
    assert certify.difference(first, first) == 0
    assert certify.difference(first, second) == pytest.approx(0.1)
    assert certify.difference(first, {"probability": np.full((2, 2), np.nan)}) == np.inf
    assert certify.difference(first, {"probability": first["probability"][:1]}) == np.inf
    assert certify.difference(first, {}) == np.inf
    masks = {"mask": np.array([[0, 1, 2, 3]])}, {"mask": np.array([[0, 1, 2, 4]])}
    assert certify.difference(*masks) == 0.25


@pytest.mark.parametrize("largest", [0.9e-5, 1.1e-5, 0.9e-4])
def test_a_difference_above_the_aim_is_a_warning(largest, capsys):
    certify.check(certify.Certificate(largest, 10, "examples"), "a.onnx")
    lines = capsys.readouterr().err.splitlines()
    if largest < 1e-5:
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith(
            f"warning: expected a difference of at most 1e-05, found {largest:.1e}: "
        )


@pytest.mark.parametrize("form", formats.FORMATS)
def test_a_run_is_exported_and_certified(form, workdir, tmp_path, capsys):
    import crnn_jax

    out = tmp_path / f"digits.{form}"
    flags = [f"--workdir={workdir}", f"--format={form}", f"--out={out}", "--evaluate"]
    command.main([*flags, "--examples=100"])
    size, difference, score = capsys.readouterr().out.splitlines()
    assert size.startswith(f"{out}: ")
    assert " over 100 examples of the test split of 'digits'" in difference
    assert float(difference.split()[2]) < 1e-5
    (tmp_path / "usual").touch()
    assert out.stat().st_mode == (tmp_path / "usual").stat().st_mode  # as whoever may read others
    run, file = crnn_jax.load(workdir), crnn_jax.load(out)
    summary = run.evaluate("test")
    counts = f"({summary['num_correct']}/{summary['num_examples']})"
    assert score == f"test accuracy {summary['accuracy']:.4f} {counts}"
    assert file.class_names == run.class_names
    assert file.evaluate("test")["accuracy"] == summary["accuracy"]
    assert file.evaluate("test")["loss"] == pytest.approx(summary["loss"], rel=1e-4)
    if isinstance(file, formats.Exported):
        assert file.metadata["certificate"]["num_examples"] == 100
        assert file.metadata["test"]["num_correct"] == summary["num_correct"]


def test_a_model_of_the_package_is_exported(tmp_path, monkeypatch, capsys):
    """To the current folder; the file names the data of the training, wherever it lies now."""
    import crnn_jax

    monkeypatch.chdir(tmp_path)
    flags = ["--format=safetensors", "--examples=10", "--data_source=folder:/nonexistent"]
    command.main(["--model=digits_crnn", *flags])
    printed = capsys.readouterr()
    assert printed.out.startswith("digits_crnn.safetensors: ")
    assert "over 10 random examples, since the data is not here" in printed.out
    assert "/nonexistent" in printed.err
    file = crnn_jax.load("digits_crnn.safetensors")
    assert file.config.data.source == "digits"


@pytest.mark.long
def test_a_safetensors_file_is_exported_in_another_format(tmp_path, monkeypatch, capsys):
    import crnn_jax

    monkeypatch.chdir(tmp_path)
    weights = pretrained.find("digits_crnn")
    command.main([f"--file={weights}", "--format=onnx", "--examples=10"])
    assert "over 10 examples of the test split of 'digits'" in capsys.readouterr().out
    digits = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
    expected = crnn_jax.load("digits_crnn").probabilities(digits)
    found = crnn_jax.load("digits_crnn.onnx").probabilities(digits)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(SystemExit) as stop:
        command.main(["--file=digits_crnn.onnx", "--format=stablehlo"])
    assert stop.value.code == 2
    assert "--file expects a safetensors file, found file 'digits" in capsys.readouterr().err
    assert not (tmp_path / "digits_crnn.stablehlo").exists()


def test_a_sequencer_is_certified_on_its_data(random_run, reload):
    made = random_run("sequencer", shape=(8, 8, 1))
    run = certify.in_float32(dataclasses.replace(made, class_names=tuple("01234")))
    certificate = certify.certify(run, reload("onnx", run), 70)
    assert certificate.num_examples == 70
    assert certificate.examples == "examples of the test split of 'digits'"
    assert certificate.largest_difference < 1e-5


@pytest.mark.parametrize("form", formats.FORMATS)
def test_a_file_reads_samples_in_the_depth_of_the_training(form, random_run, reload, tmp_path):
    run = random_run("rnn", data__bit_depth=12)
    file = reload(form, run)
    Image.fromarray(np.full((9, 7), 4000, np.uint16)).save(tmp_path / "scan.png")
    eight_bits = np.full((1, 9, 7, 3), 4000 >> 4, np.uint8)
    for trained in (run, file):
        assert trained.config.data.bit_depth == 12
        found = trained.probabilities(tmp_path / "scan.png")
        np.testing.assert_array_equal(found, trained.probabilities(eight_bits))
        (prediction,) = trained.predict(tmp_path / "scan.png")
        assert prediction["probability"] == found.max()
    np.testing.assert_array_equal(run.features(tmp_path / "scan.png"), run.features(eight_bits))
    assert describe(run)["bit_depth"] == 12


def test_without_the_data_random_examples_are_compared(workdir, monkeypatch, tmp_path, capsys):
    from crnn_jax.run import Run

    def missing(self):
        raise UserError("found no data")

    monkeypatch.setattr(Run, "dataset", missing)
    flags = [f"--workdir={workdir}", "--format=onnx", f"--out={tmp_path / 'a.onnx'}"]
    command.main(flags)
    printed = capsys.readouterr()
    assert "over 256 random examples, since the data is not here\n" in printed.out
    assert "the data is not here: found no data" in printed.err
    with pytest.raises(SystemExit) as stop:
        command.main([*flags[:2], f"--out={tmp_path / 'b.onnx'}", "--evaluate"])
    assert stop.value.code == 2
    assert not (tmp_path / "b.onnx").exists()


def test_a_file_that_differs_is_not_kept(workdir, monkeypatch, tmp_path, capsys):
    made = formats.format_of("onnx").make

    def spoilt(run):
        norm = {**run.state.norm, "mean_C": run.state.norm["mean_C"] + 20}
        return made(dataclasses.replace(run, state=dataclasses.replace(run.state, norm=norm)))

    monkeypatch.setattr(formats.format_of("onnx"), "make", spoilt)
    out = tmp_path / "a.onnx"
    with pytest.raises(SystemExit) as stop:
        command.main([f"--workdir={workdir}", "--format=onnx", f"--out={out}"])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()  # with what a slow machine makes Orbax say
    (line,) = (line for line in lines if line.startswith("error: "))
    assert "is expected to differ from the run by at most 0.0001" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["stablehlo", "onnx", "safetensors"])
def test_predictions_of_a_file_that_are_not_finite_are_one_line(form, random_run, images, reload):
    run = random_run("rnn")
    params = jax.tree.map(lambda leaf: leaf * np.nan, run.state.params)
    run = dataclasses.replace(run, state=dataclasses.replace(run.state, params=params))
    file = reload(form, run)
    found = "(file|run) '.*', found a probability of NaN"
    with pytest.raises(UserError, match=f"expected finite predictions of {found}"):
        file.predict(images(1)[0])
    split = iter([{"image": images(1), "label": np.zeros(1, np.int32), "weight_B": np.ones(1)}])
    with pytest.raises(UserError, match=found):
        summary(file.task, file.apply, split)


def test_a_file_is_in_float32_whatever_the_run_was_trained_in(random_run, images, reload):
    run = random_run("crnn", precision="bfloat16")
    exact = certify.in_float32(run)
    assert exact.config.precision == "float32"
    pixels = images(8)
    found = reload("onnx", exact).apply(pixels)["probability"]
    np.testing.assert_allclose(found, exact.apply(pixels)["probability"], atol=1e-5)
    assert np.abs(found - run.apply(pixels)["probability"]).max() > 1e-5


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--format=onnx", "--out=a.bin"], "--out expects a name that ends with .onnx"),
        (["--format=onnx", "--out=here.onnx"], "expects a file that is not there yet"),
        (["--format=onnx", "--out=none/a.onnx"], "cannot be written (No such file or directory)"),
        (["--format=onnx", "--examples=0"], "--examples expects 1 or more, found 0"),
        (["--format=stablehlo", "--streaming"], "--streaming expects --format=onnx"),
        (["--format=torch"], "invalid choice: 'torch'"),
        (["--format=onnx", "--workdir=none"], "expected a run in 'none', found no config.json"),
    ],
)
def test_a_mistake_is_one_line(flags, expected, workdir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.onnx").write_text("mine")
    with pytest.raises(SystemExit) as stop:
        command.main([f"--workdir={workdir}", *flags])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert (tmp_path / "here.onnx").read_text() == "mine"


def test_a_missing_package_is_named(monkeypatch):
    find = formats.importlib.util.find_spec
    hidden = lambda name: None if name == "onnxruntime" else find(name)  # noqa: E731
    monkeypatch.setattr(formats.importlib.util, "find_spec", hidden)
    with pytest.raises(UserError, match=r'found no such package: pip install -e "\.\[export\]"'):
        formats.format_of("onnx")


def test_the_formats_of_the_command_are_those_that_there_are():
    assert set(command.FORMATS) == set(formats.FORMATS)
