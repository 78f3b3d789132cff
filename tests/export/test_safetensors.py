"""Weights are what they were, and a file that lacks some is refused by name."""

import numpy as np
import pytest

from crnn_jax.errors import UserError
from crnn_jax.export.formats import load_file
from crnn_jax.run import Run


def test_a_run_comes_back_with_its_layers(random_run, images, reload):
    run = random_run("crnn", data__dir="/private/place")
    pixels = images(5)
    found = reload("safetensors", run)
    assert isinstance(found, Run)
    assert found.class_names == run.class_names
    assert found.config.data.dir == ""  # where the data lay does not go with the file
    np.testing.assert_array_equal(found.probabilities(pixels), run.probabilities(pixels))
    np.testing.assert_array_equal(found.features(pixels), run.features(pixels))


def test_a_file_does_not_say_where_the_data_lay(random_run, reload, tmp_path):
    places = {"data__dir": "/private/a", "data__cache_dir": "/private/b"}
    run = random_run("rnn", data__source="folder:/private/photos", **places)
    run.config.init["from"] = "/private/runs/other"
    found = reload("safetensors", run)
    assert found.config.data.source == "folder:photos"
    assert found.config.init["from"] == "other"
    assert b"/private" not in (tmp_path / "model.safetensors").read_bytes()


def test_arrays_have_the_paths_of_the_model(random_run, reload, tmp_path):
    from safetensors.numpy import load_file as load_arrays

    run = random_run("rnn")
    reload("safetensors", run)
    arrays = load_arrays(tmp_path / "model.safetensors")
    kernel = run.state.params["recurrent"]["layer_0"]["kernel_h"]
    np.testing.assert_array_equal(arrays["params/recurrent/layer_0/kernel_h"], kernel)


def test_a_training_may_begin_with_the_file(random_run, reload, tmp_path):
    from crnn_jax.weights import load_weights

    run = random_run("rnn")
    reload("safetensors", run)
    found = load_weights(str(tmp_path / "model.safetensors"))
    bias = run.state.params["head"]["dense"]["bias"]
    np.testing.assert_array_equal(found.params["head/dense/bias"], bias)
    assert found.metadata["class_names"] == run.class_names
    np.testing.assert_array_equal(found.metadata["norm"]["mean_C"], [90, 110, 130])


def test_a_file_that_lacks_an_array_is_refused(random_run, reload, tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    reload("safetensors", random_run("rnn"))
    path = tmp_path / "model.safetensors"
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del metadata["crc32"]  # as of an older version
    wrong = {**arrays, "params/head/dense/bias": np.zeros(3, np.float32)}
    save_file(wrong, path, metadata)
    with pytest.raises(UserError, match=r"'params/head/dense/bias' of \(5,\), found \(3,\)"):
        load_file(path)
    arrays.pop("params/head/dense/bias")
    save_file(arrays, path, metadata)
    with pytest.raises(UserError, match=r"'params/head/dense/bias' of \(5,\), found none"):
        load_file(path)
    save_file(arrays, path)
    with pytest.raises(UserError, match="found another format"):
        load_file(path)
