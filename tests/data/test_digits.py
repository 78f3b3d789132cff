import copy
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from crnn_jax.config import default_config
from crnn_jax.data.sources import load_source
from crnn_jax.errors import UserError


def load(seed=0, **changes):
    config = copy.deepcopy(default_config("crnn").data)
    for key, value in {"source": "digits", **changes}.items():
        config[key] = value
    return load_source(config, seed)


def all_images(split):
    return np.stack([split.read(i)["image"] for i in range(len(split))])


def test_facts():
    source = load()
    assert source.name == "digits"
    assert source.class_names == tuple("0123456789")
    assert source.num_classes == 10
    assert source.input_shape == (8, 8, 1)
    assert (len(source.train), len(source.test)) == (1437, 360)
    image_HWC, label = source.test.read(0).values()
    assert (image_HWC.dtype, image_HWC.shape, label.dtype) == (np.uint8, (8, 8, 1), np.int32)


def test_every_digit_is_in_exactly_one_split_with_its_label():
    source = load()
    digits: Any = load_digits()
    expected = sorted(
        (tuple(np.floor(image.ravel() * 255 / 16 + 0.5).astype(int)), int(label))
        for image, label in zip(digits.images, digits.target, strict=True)
    )
    found = sorted(
        (tuple(image_HWC.ravel().astype(int)), label)
        for split in (source.train, source.test)
        for image_HWC, label in (split.read(i).values() for i in range(len(split)))
    )
    for (found_pixels, found_label), (pixels, label) in zip(found, expected, strict=True):
        assert found_label == label
        assert np.abs(np.subtract(found_pixels, pixels)).max() <= 1  # 127.5 rounds to even: 128
    assert max(max(pixels) for pixels, _ in found) == 255


def test_test_split_is_stratified():
    source = load()
    digits: Any = load_digits()
    all_K = np.bincount(digits.target)
    assert source.test.group_N is not None
    test_K = np.bincount(source.test.group_N)
    assert test_K.sum() == 360
    assert np.abs(test_K - all_K * 360 / 1797).max() < 1
    assert [source.test.read(i)["label"] for i in range(360)] == source.test.group_N.tolist()


def test_seed_and_fraction_set_the_split():
    base, again, other = load(), load(), load(seed=1)
    assert base.fingerprint == again.fingerprint != other.fingerprint
    np.testing.assert_array_equal(all_images(base.test), all_images(again.test))
    assert (all_images(base.test) != all_images(other.test)).any()
    half = load(test_fraction=0.5)
    assert len(half.test) == 899
    assert half.fingerprint != base.fingerprint


def test_image_size():
    source = load(image_size=12)
    assert source.input_shape == source.train.read(0)["image"].shape == (12, 12, 1)
    assert source.fingerprint != load().fingerprint


@pytest.mark.parametrize("fraction", [0.0, 0.9999])
def test_empty_split_is_an_error(fraction):
    with pytest.raises(UserError, match=r"'data.test_fraction'.*1797"):
        load(test_fraction=fraction)


def test_splits_can_be_pickled():
    split = load().test
    copied = pickle.loads(pickle.dumps(split))
    np.testing.assert_array_equal(copied.read(5)["image"], split.read(5)["image"])
