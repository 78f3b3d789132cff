"""A run that was trained is opened: what it says of new inputs is what an evaluation says."""

import json
import unicodedata

import numpy as np
import pytest

from crnn_jax.run import open_run
from crnn_jax.train.evaluator import make_evaluator
from crnn_jax.train.loop import train


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    from crnn_jax.flags import resolve_config

    folder = tmp_path_factory.mktemp("run")
    keys = {"model.hidden_units": "8", "duration": "4 steps", "batch_size": "64"}
    train(resolve_config("configs/digits.py:rnn", keys), str(folder))
    return folder


def test_inputs_are_judged_as_in_an_evaluation(workdir):
    run = open_run(workdir)
    dataset = run.dataset()
    test = dataset.splits["test"]
    image_BHWC = np.stack([test.read(index)["image"] for index in range(70)])  # over one batch
    found = run.apply(image_BHWC)["probability"]
    pipeline = dataset.pipeline("test", 100, run.experiment.mesh)
    _, predictions = make_evaluator(run.experiment, pipeline).with_predictions(run.state)
    np.testing.assert_allclose(found, predictions["probability"][:70], atol=1e-6)


def test_a_class_s_name_is_taken_in_one_unicode_form(workdir, capsys):
    path = workdir / "dataset.json"
    facts = json.loads(path.read_text())
    names = [unicodedata.normalize("NFD", "café"), *facts["class_names"][1:]]
    path.write_text(json.dumps({**facts, "class_names": names}))
    run = open_run(workdir)
    path.write_text(json.dumps(facts))
    assert run.class_names[0] == unicodedata.normalize("NFC", "café")
    assert run.dataset().source.class_names == run.class_names
    assert "class 'café' is missing; class '0' is new" in capsys.readouterr().err
