"""Programs compute what the models compute, on every platform and for any batch."""

import json
import zipfile

import jax
import numpy as np
import pytest
from jax import export

from crnn_jax.errors import UserError
from crnn_jax.export.formats import load_file

CLIP = (3, 6, 5, 2)
RUNS = [
    ("cnn", {"model__whiten_size": 2, "model__activation": "gelu"}),
    ("rnn", {"model__cell": "mingru", "model__tokens": "patches", "model__readout": "attention"}),
    ("rnn_deep", {}),
    ("lrcn", {"model__readout": "mean"}),
    ("lrcn", {"shape": CLIP}),
    ("crnn", {"model__cell": "gru_cho", "model__bidirectional": True, "model__readout": "mean"}),
    ("crnn", {"model__cell": "lstm", "model__readout": "attention"}),
    ("crnn", {"model__implementation": "scan"}),
]


@pytest.mark.parametrize(("model", "changes"), RUNS)
def test_a_program_equals_the_model(model, changes, random_run, images, expected, reload):
    run = random_run(model, **changes)
    pixels = images(64, run.input_shape)
    wanted = expected(run, pixels)["probability"]
    file = reload("stablehlo", run)
    np.testing.assert_allclose(file.program(pixels)["probability"], wanted, atol=1e-5, rtol=0)
    alone = file.program(pixels[:1])["probability"]
    np.testing.assert_allclose(alone, wanted[:1], atol=1e-5, rtol=0)


def test_a_segmentation_has_its_masks(random_run, images, expected, reload):
    shape = (8, 8, 3)
    run = random_run("reseg", shape=shape)
    pixels = images(3, shape)
    file = reload("stablehlo", run)
    np.testing.assert_array_equal(file.apply(pixels)["mask"], expected(run, pixels)["mask"])
    with pytest.raises(UserError, match="has no probabilities of classes"):
        file.probabilities(pixels)
    with pytest.raises(UserError, match="is a program, whose layers cannot be looked into"):
        file.features(pixels)


def test_the_archive_needs_jax_alone(random_run, images, expected, reload, tmp_path):
    run = random_run("cnn")
    reload("stablehlo", run)
    with zipfile.ZipFile(tmp_path / "model.stablehlo") as archive:
        metadata = json.loads(archive.read("metadata.json"))
        program = export.deserialize(bytearray(archive.read("program")))
    assert metadata["class_names"] == list(run.class_names)
    assert program.platforms == ("cpu", "cuda", "tpu")
    (taken,) = program.in_avals
    assert str(taken.shape[0]) == "batch"
    assert taken.shape[1:] == run.input_shape
    assert taken.dtype == np.uint8
    pixels = images(2)
    found = jax.device_get(program.call(pixels))
    np.testing.assert_allclose(
        found["probability"], expected(run, pixels)["probability"], atol=1e-5
    )


def test_another_file_is_refused_in_one_line(tmp_path):
    path = tmp_path / "a.stablehlo"
    path.write_text("no archive")
    with pytest.raises(UserError, match=r"is expected to be a file of crnn_jax\.export, found"):
        load_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"crnn_jax_format": 99}')
    with pytest.raises(UserError, match="of format 1, found format 99"):
        load_file(path)
    with pytest.raises(UserError, match=r"to end with one of \.safetensors, \.stablehlo, \.onnx"):
        load_file(tmp_path / "a.pt")
