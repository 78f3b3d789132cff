"""Segmentations end to end: resumed, streamed, on eight devices, evaluated and predicted."""

import json

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from crnn_jax import evaluate, predict
from crnn_jax.data import digit_scenes
from crnn_jax.data.dataset import load_dataset
from crnn_jax.data.fields import IGNORE
from crnn_jax.errors import UserError, one_line_errors
from crnn_jax.run import open_run
from crnn_jax.studies import pictures
from crnn_jax.tasks import check_fields
from crnn_jax.train.evaluator import make_evaluator
from crnn_jax.train.loop import train

pytestmark = pytest.mark.long


@pytest.fixture
def scenes(tiny, monkeypatch):
    """Returns make(**overrides): a config of a few scenes, so small that a run takes seconds."""
    monkeypatch.setattr(digit_scenes, "NUM_TRAIN", 48)
    monkeypatch.setattr(digit_scenes, "NUM_TEST", 21)

    def make(**changes):
        common = {
            "task": "segmentation",
            "data__source": "digit_scenes",
            "data__image_size": 18,
            "data__crop_padding": 2,
            "optim__label_smoothing": 0.0,
            "batch_size": 16,
            "eval__batch_size": 16,
            "model__stage_multipliers": "(1,)",
            "model__patch_sizes": "(2,)",
            "model__decoder_width": 4,
            "mesh__data": 1,
        }
        return tiny("reseg", **{**common, **changes})

    return make


def parameters(workdir):
    return jax.tree.leaves(jax.device_get(open_run(workdir).state.params))


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["train/loss"]) for line in lines if "train/loss" in line]


@pytest.fixture(scope="module")
def run_of_eight(tmp_path_factory):
    """The folder of a finished run on eight devices; the test that is first trains it."""
    return tmp_path_factory.mktemp("eight") / "run"


def trained_on_eight(scenes, folder):
    if not folder.exists():
        train(scenes(mesh__data=8), str(folder))
    return folder


def test_runs_learn_and_say_so(scenes, tmp_path, capsys):
    result = train(scenes(duration="30 steps", optim__learning_rate=0.01), str(tmp_path / "run"))
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"test mean iou {result['test']['mean_iou']:.4f} (21 images)"
    )
    seen = losses(tmp_path / "run")
    assert seen[-1][1] < 0.7 * seen[0][1]
    assert len(result["test"]["iou"]) == 11
    train(scenes(duration="30 steps", optim__learning_rate=0.01), str(tmp_path / "run"))
    assert "already finished" in capsys.readouterr().out
    with pytest.raises(SystemExit) as code:
        evaluate.main(["--workdir", str(tmp_path / "run"), "--tta", "mirror_shift"])
    assert code.value.code == 2
    assert capsys.readouterr().err.startswith("error: test-time augmentation of task")
    evaluate.main(["--workdir", str(tmp_path / "run"), "--tta", "mirror", "--report"])
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("test mean iou with tta=mirror 0.")
    check_report(tmp_path / "run" / "report_test_mirror", line)


def check_report(folder, line):
    """Checks that a report's figures are those of the score's own confusion matrix."""
    facts = json.loads((folder / "report.json").read_text())
    iou = [item["iou"] for item in facts["classes"]]
    assert iou == facts["summary"]["iou"]
    assert f"{facts['summary']['mean_iou']:.4f}" in line
    assert np.sum(facts["confusion"]) == facts["summary"]["num_pixels"]
    assert facts["interval"]["low"] <= facts["summary"]["mean_iou"] <= facts["interval"]["high"]
    assert len((folder / "predictions.jsonl").read_text().splitlines()) == 21
    with Image.open(folder / facts["mistakes"][0]["picture"]) as picture:
        assert picture.size == (3 * 270, 270)  # the image, its prediction and its mask
    assert facts["legend"][0] == {"name": "background", "rgb": [0, 0, 0]}
    shown = [item["name"] for item in facts["legend"]]
    assert shown[-1] == "(ignored)"
    assert set(shown) <= {"background", *"0123456789", "(ignored)"}


@pytest.mark.slow
def test_resumed_streamed_and_on_eight_devices(scenes, run_of_eight, tmp_path):
    whole = tmp_path / "whole"
    train(scenes(), str(whole))
    train(scenes(data__pipeline="streaming"), str(tmp_path / "streamed"))
    for other, expected in zip(parameters(tmp_path / "streamed"), parameters(whole), strict=True):
        np.testing.assert_array_equal(other, expected)
    # Resumed: as if it had been killed after the checkpoint of step 8.
    for name in ("result.json", "checkpoints/12"):
        path = whole / name
        path.rename(tmp_path / path.name)
    expected = [jax.device_get(x) for x in parameters(tmp_path / "streamed")]
    train(scenes(), str(whole))
    for other, value in zip(parameters(whole), expected, strict=True):
        np.testing.assert_array_equal(other, value)
    eight = trained_on_eight(scenes, run_of_eight)
    for (step, loss), (other_step, other) in zip(
        losses(eight), losses(tmp_path / "streamed"), strict=True
    ):
        assert step == other_step
        np.testing.assert_allclose(loss, other, rtol=1e-4)


def test_predictions_over_eight_devices_are_what_is_counted(scenes, run_of_eight):
    run = open_run(trained_on_eight(scenes, run_of_eight), num_devices=8)
    dataset = load_dataset(run.config)
    pipeline = dataset.pipeline("test", 16, run.experiment.mesh)  # 21 examples: the rest is padding
    summary, found = make_evaluator(run.experiment, pipeline).with_predictions(run.state)
    assert found["mask"].shape == (21, 18, 18)
    assert found["weight"].tolist() == [1.0] * 21
    split = dataset.splits["test"]
    truth = np.stack([split.read(i)["mask"] for i in range(21)])
    counted = truth != IGNORE
    count_KK = confusion_matrix(truth[counted], found["mask"][counted], labels=range(11))
    hit_K = np.diag(count_KK)
    union_K = count_KK.sum(axis=0) + count_KK.sum(axis=1) - hit_K
    iou = [h / u for h, u in zip(hit_K, union_K, strict=True) if u]
    assert summary["mean_iou"] == pytest.approx(np.mean(iou), rel=1e-12)
    assert summary["num_pixels"] == counted.sum()
    plain = make_evaluator(run.experiment, pipeline)(run.state)
    assert plain == summary


def test_predict_writes_a_picture_and_a_line(scenes, run_of_eight, tmp_path, capsys):
    workdir = f"--workdir={trained_on_eight(scenes, run_of_eight)}"
    image = tmp_path / "scene.png"
    Image.fromarray(np.full((40, 30), 90, np.uint8)).save(image)
    capsys.readouterr()
    out = tmp_path / "out"
    predict.main([workdir, "--out", str(out), str(image)])
    line = capsys.readouterr().out.strip().split("\t")
    assert line[0] == str(image)
    assert line[-1] == str(out / "scene.png")
    with Image.open(out / "scene.png") as picture:
        assert picture.size == (2 * 270, 270)  # 18 pixels, 15 times, side by side
    predict.main([workdir, "--out", str(out), "--json", str(image)])
    facts = json.loads(capsys.readouterr().out)
    assert facts["picture"] == str(out / "scene_2.png")
    assert sum(facts["shares"].values()) == pytest.approx(1)


def test_a_row_of_panels_for_each_example(scenes, run_of_eight, drawn, tmp_path, capsys):
    workdir = trained_on_eight(scenes, run_of_eight)
    arguments = [f"--workdir={workdir}", f"--results={tmp_path}"]
    pictures.main([*arguments, "--name=a", "--count=2"])
    assert (tmp_path / "a.png").exists()
    texts, figure = drawn()
    assert len(figure.axes) == 2 * 3
    shown = [text for text, _ in texts]
    assert shown[:3] == ["image", "prediction", "truth"]
    assert (shown[3], shown[-1]) == ("background", "(ignored)")
    truth = np.stack([load_dataset(scenes()).splits["test"].read(i)["mask"] for i in range(2)])
    digits = {str(k - 1) for k in np.unique(truth).tolist() if 0 < k < IGNORE}
    assert digits <= set(shown)
    with pytest.raises(SystemExit):
        pictures.main([*arguments, "--name=a", "--count=22"])
    assert "--count expects 1 to 21, found 22" in capsys.readouterr().err


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_a_source_without_masks_and_a_wrong_mask_end_in_one_line(
    scenes, tmp_path, capsys, pipeline
):
    with pytest.raises(UserError, match=r"fields image, mask, found image, label in 'digits'"):
        train(scenes(data__source="digits"), str(tmp_path / "digits"))
    config = scenes(task="classification")
    source = load_dataset(config).source
    with pytest.raises(UserError, match=r"fields image, label, found image, mask"):
        check_fields(config, source)
    root = tmp_path / "data"
    for part in ("train", "test"):
        for name in ("images", "masks"):
            (root / part / name).mkdir(parents=True)
        for index in range(16):
            Image.fromarray(np.zeros((18, 18, 3), np.uint8)).save(
                root / part / "images" / f"{index}.png"
            )
            side = 17 if part == "train" and index == 3 else 18
            Image.fromarray(np.zeros((side, side), np.uint8)).save(
                root / part / "masks" / f"{index}.png"
            )
    (root / "classes.txt").write_text("a\nb\n")
    config = scenes(
        data__source=f"masks:{root}", data__pipeline=pipeline, data__image_size=0, batch_size=8
    )
    with pytest.raises(SystemExit) as code, one_line_errors():
        train(config, str(tmp_path / "run"))
    assert code.value.code == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert "masks/3.png: expected a mask of 18x18 pixels as its image, found 17x17" in line
