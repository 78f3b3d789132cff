import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from crnn_jax.config import default_config
from crnn_jax.data import digit_scenes
from crnn_jax.data.fields import IGNORE
from crnn_jax.data.sources import load_source
from crnn_jax.errors import UserError


def load(seed=0, **changes):
    config = default_config("reseg").data
    config.update({"source": "digit_scenes", **changes})
    return load_source(config, seed)


def test_facts():
    source = load()
    assert source.class_names == ("background", *"0123456789")
    assert source.input_shape == (32, 32, 1)
    assert (len(source.train), len(source.test)) == (4000, 1000)
    assert {name: field.kind for name, field in source.train.fields.items()} == {
        "image": "pixels",
        "mask": "map",
    }
    scene = source.train.read(0)
    for name, field in source.train.fields.items():
        assert (scene[name].shape, scene[name].dtype) == (field.shape, field.dtype)
    assert load(image_size=40).input_shape == (40, 40, 1)


def test_a_scene_is_a_function_of_seed_split_and_number():
    source, again, other = load(), load(), load(seed=1)
    assert source.fingerprint == again.fingerprint != other.fingerprint
    split = pickle.loads(pickle.dumps(again.train))
    for name in ("image", "mask"):
        first = source.train.read(7)[name]
        np.testing.assert_array_equal(first, split.read(7)[name])
        for different in (source.train.read(8), source.test.read(7), other.train.read(7)):
            assert not np.array_equal(first, different[name])


def test_another_number_of_scenes_is_other_data(monkeypatch):
    whole = load().fingerprint
    monkeypatch.setattr(digit_scenes, "NUM_TRAIN", 7)
    assert load().fingerprint != whole


def test_the_first_scene_stays_what_it_is():
    """If this fails, scenes have changed: raise `_RECIPE`, so that cached ones are made again."""
    scene = load().train.read(0)
    found = [int(scene[name].astype(np.int64).sum()) for name in ("image", "mask")]
    assert found == [65998, 24361]


def test_scenes_hold_several_digits_and_bright_clutter():
    scenes = [load().train.read(i) for i in range(200)]
    count = [len(set(np.unique(s["mask"])) - {0, IGNORE}) for s in scenes]
    assert max(count) == 4
    assert np.mean(np.array(count) >= 2) > 0.8
    image = np.stack([s["image"][..., 0] for s in scenes])
    mask = np.stack([s["mask"] for s in scenes])
    share_K = np.bincount(mask.ravel(), minlength=256) / mask.size
    assert share_K[:11].min() > 0.005
    assert 0 < share_K[IGNORE] < 0.15
    assert share_K[:11].sum() + share_K[IGNORE] == pytest.approx(1)
    # Brightness does not tell a digit: much of the background is as bright.
    bright = image > np.median(image[(mask > 0) & (mask != IGNORE)])
    assert np.mean(mask[bright] == 0) > 0.2


def test_training_and_test_scenes_show_disjoint_digits():
    source = load()
    digits = {
        part: {tuple(digit_HW.ravel()) for digit_HW in getattr(source, part).read.digit_NHW}
        for part in ("train", "test")
    }
    official: Any = load_digits()
    everything = {tuple(x) for x in np.round(official.data * 255 / 16).astype(np.uint8)}
    assert digits["train"] | digits["test"] == everything
    assert not digits["train"] & digits["test"]


def test_a_fraction_that_leaves_no_digit_is_an_error():
    with pytest.raises(UserError, match=r"'data.test_fraction'"):
        load(test_fraction=0.0)


def test_scenes_smaller_than_a_digit_are_an_error():
    with pytest.raises(UserError, match=r"'data.image_size' expects at least 16 .* found 8"):
        load(image_size=8)
