"""The picture of a run's explanations, its facts and its figures."""

import json

import pytest
from PIL import Image

from crnn_jax.run import open_run
from crnn_jax.studies import saliency
from crnn_jax.studies.explanations import METHODS, make_maps
from crnn_jax.train.loop import train

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    from crnn_jax.flags import resolve_config

    folder = tmp_path_factory.mktemp("run")
    keys = {"model.width": "4", "model.hidden_units": "8", "model.num_conv_layers": "2"}
    keys |= {"duration": "12 steps", "optim.warmup": "2 steps", "model.readout": "attention"}
    train(resolve_config("configs/digits.py:crnn", keys), str(folder))
    return folder


@pytest.fixture(scope="module")
def written(workdir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    saliency.main([f"--workdir={workdir}", f"--results={folder}", "--num=5", "--check=0"])
    return folder, json.loads((folder / "saliency_digits_crnn.json").read_text())


def test_right_and_wrong_predictions_are_shown_with_their_steps(written):
    folder, content = written
    with Image.open(folder / "saliency_digits_crnn.png") as picture:
        assert picture.width > 800
    items = content["predictions"]
    assert len(items) == 5
    wrong = [item["true"] != item["class"] for item in items]
    assert wrong == [False, False, False, True, True]  # so short a training has enough of both
    for item in items:
        steps = item["steps"]
        assert {len(values) for values in steps.values()} == {2}  # of the 2 x 2 map a row each
        assert steps["class"][-1] == item["class"]
        assert steps["probability"][-1] == pytest.approx(item["probability"], abs=1e-5)
        assert sum(steps["relevance"]) == pytest.approx(1, abs=1e-5)
        assert sum(steps["attention"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_figures_of_every_method_are_written(workdir, tmp_path):
    folder = tmp_path
    saliency.main([f"--workdir={workdir}", f"--results={folder}", "--num=2", "--check=6"])
    checks = json.loads((folder / "saliency_digits_crnn.json").read_text())["checks"]
    assert checks["images"] == 6
    assert set(checks["methods"]) == set(METHODS)
    for row in checks["methods"].values():
        assert row["difference"] == pytest.approx(row["insertion"] - row["deletion"])
        random = checks["random"]["difference"]
        assert row["minus_random"] == pytest.approx(row["difference"] - random, abs=1e-6)
        assert list(row["correlation"]) == ["head", "head + readout",
                                            "head + readout + recurrent", "all"]  # fmt: skip
    assert 0 <= checks["integrated_gradients_gap"] < 0.2
    assert "| random order |" in (folder / "saliency_digits_crnn.md").read_text()


def test_files_are_explained_without_the_data(workdir, tmp_path):
    Image.new("RGB", (30, 20), "white").save(tmp_path / "a$_<.png")
    argv = [f"--workdir={workdir}", f"--results={tmp_path}", "--name=own"]
    saliency.main([*argv, str(tmp_path / "a$_<.png")])
    content = json.loads((tmp_path / "own.json").read_text())
    (item,) = content["predictions"]
    assert "true" not in item
    assert item["steps"]["true_probability"] is None
    assert "checks" not in content
    assert (tmp_path / "own.png").exists()


def test_steps_agree_with_the_run_itself(workdir):
    run = open_run(workdir)
    maps = make_maps(run.experiment)
    (row, *_) = saliency.explain(run, maps, saliency.choose(run, 2))
    probability_K = run.apply(row.image_HWC[None])["probability"][0]
    assert row.facts["steps"]["probability"][-1] == pytest.approx(probability_K.max(), abs=1e-5)


def test_a_number_of_images_is_checked(tmp_path, capsys):
    with pytest.raises(SystemExit):
        saliency.main([f"--workdir={tmp_path}", "--num=0"])
    assert "--num expects 1 or more, found 0" in capsys.readouterr().err
