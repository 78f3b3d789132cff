"""evaluate --report on a trained run: its files belong together, and nothing is fitted on test."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from crnn_jax import evaluate
from crnn_jax.evaluation import may_fit
from crnn_jax.report.page import make_page
from crnn_jax.run import open_run
from crnn_jax.train.loop import train


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    from crnn_jax.flags import resolve_config

    folder = tmp_path_factory.mktemp("run")
    keys = {"model.hidden_units": "8", "duration": "8 steps", "batch_size": "64"}
    keys |= {"data.validation": "0.2", "log.tensorboard": "False"}
    train(resolve_config("configs/digits.py:rnn", keys), str(folder))
    return folder


@pytest.fixture(scope="module")
def report(workdir):
    """Returns (report.json, the lines of predictions.jsonl)."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        evaluate.main(["--workdir", str(workdir), "--report"])
    lines = printed.getvalue().splitlines()
    assert lines[-2] == f"report in {workdir / 'report_test'}"
    assert lines[-1].startswith("test accuracy ")
    folder = workdir / "report_test"
    rows = (folder / "predictions.jsonl").read_text().splitlines()
    return json.loads((folder / "report.json").read_text()), [json.loads(row) for row in rows]


def test_a_start_is_noted_with_its_command(workdir):
    (start,) = map(json.loads, (workdir / "starts.jsonl").read_text().splitlines())
    assert start["step"] == 0
    assert start["command"].startswith("python ")
    assert {"time", "git_commit", "devices", "versions"} < start.keys()


def test_the_report_is_of_the_examples_that_the_score_counts(workdir, report):
    facts, rows = report
    result = json.loads((workdir / "result.json").read_text())
    assert facts["summary"] == result["test"]
    count = facts["summary"]["num_examples"]
    right = sum(row["true"] == row["predicted"] for row in rows)
    assert [row["index"] for row in rows] == list(range(count))
    assert right == facts["summary"]["num_correct"]
    assert np.trace(facts["confusion"]) == right
    low, high = facts["interval"]["low"], facts["interval"]["high"]
    assert low < facts["summary"]["accuracy"] < high
    assert facts["calibration"]["nll"] == pytest.approx(facts["summary"]["loss"], rel=1e-3)
    assert (facts["step"], facts["split"], facts["num_unreadable"]) == (8, "test", 0)


def test_the_truth_in_the_report_is_that_of_the_data(workdir, report):
    _, rows = report
    run = open_run(workdir)
    test = run.dataset().splits["test"]
    for row in rows[:20]:
        assert row["true"] == run.class_names[int(test.read(row["index"])["label"])]


def test_mistakes_have_their_own_pictures(workdir, report):
    facts, _ = report
    assert len(facts["mistakes"]) == 24
    sure = [item["probability"] for item in facts["mistakes"]]
    assert sure == sorted(sure, reverse=True)
    first = facts["mistakes"][0]
    test = open_run(workdir).dataset().splits["test"]
    with Image.open(workdir / "report_test" / first["picture"]) as image:
        picture = np.asarray(image)
    expected = test.read(first["index"])["image"][:, :, 0].repeat(8, 0).repeat(8, 1)
    np.testing.assert_array_equal(picture[:, :, 0], expected)
    for name in ("confusion.png", "reliability.png", "mistakes.png"):
        with Image.open(workdir / "report_test" / name) as image:
            assert image.size[0] > 300


def test_the_temperature_is_fitted_on_the_validation_part_of_another_split(report):
    fitted = report[0]["calibration"]["temperature"]
    assert (fitted["fitted_on"], fitted["num_fitted"]) == ("validation", 287)
    assert may_fit("test", ("train", "test", "validation"))
    assert not may_fit("validation", ("train", "test", "validation"))
    assert not may_fit("test", ("train", "test"))


def test_the_page_of_a_real_run(workdir, report):
    del report
    page = make_page([str(workdir)], "/nonexistent").decode()
    for expected in ("starts.jsonl", "Traceback"):
        assert expected not in page
    for expected in ("confusion matrix", "temperature", "Architecture", "validation", "images/s"):
        assert expected in page, expected
