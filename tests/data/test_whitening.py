"""Patch covariances by hand and by numpy, and what whitening with their kernel does."""

import numpy as np
import pytest

from crnn_jax.data import statistics, whitening
from crnn_jax.errors import CorruptImageError, UserError


def covariance(split, folder, size=2, skip_corrupt=False):
    return whitening.patch_covariance(
        split, size, cache_dir=folder, fingerprint="f1", skip_corrupt=skip_corrupt
    )


def patches(image_NHWC, size=2):
    """In a kernel's order: rows, columns, channels."""
    windows = np.lib.stride_tricks.sliding_window_view(image_NHWC, (size, size), axis=(1, 2))
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, size * size * image_NHWC.shape[-1])


def test_by_hand(memory_split, tmp_path):
    split = memory_split(2, shape=(1, 2, 1))
    split.read.image_NHWC = np.array([[1, 2], [3, 8]], np.uint8).reshape(2, 1, 2, 1)
    np.testing.assert_allclose(covariance(split, tmp_path, size=1), [[(36 + 6) / 4 - 3.25]])
    with pytest.raises(UserError, match=r"'model.whiten_size'.*1x2, found 2"):
        covariance(split, tmp_path)


def test_equals_numpy_and_is_stored(memory_split, tmp_path, monkeypatch):
    monkeypatch.setattr(whitening, "_PATCHES", 100)  # 20 patches an image: several chunks
    split = memory_split(40, corrupt=[5])
    with pytest.raises(CorruptImageError, match="image 5"):
        covariance(split, tmp_path)
    first = covariance(split, tmp_path, skip_corrupt=True)
    kept_NHWC = np.delete(split.read.image_NHWC, 5, axis=0)
    np.testing.assert_allclose(first, np.cov(patches(kept_NHWC).T, bias=True), rtol=1e-9)
    split.read.count = 0
    np.testing.assert_array_equal(covariance(split, tmp_path, skip_corrupt=True), first)
    assert split.read.count == 0
    (tmp_path / "statistics" / "f1-train-patch2.json").write_text('{"covariance": 3}')
    np.testing.assert_array_equal(covariance(split, tmp_path, skip_corrupt=True), first)


def test_many_images_are_sampled(memory_split, tmp_path, monkeypatch):
    monkeypatch.setattr(whitening, "_IMAGES", 30)
    split = memory_split(200)
    index_N = statistics.sample(200, 30, 30)
    expected = np.cov(patches(split.read.image_NHWC[index_N]).T, bias=True)
    np.testing.assert_allclose(covariance(split, tmp_path), expected, rtol=1e-9)


def test_the_kernel_whitens_normalised_patches(memory_split, tmp_path):
    """Each output has variance 1 and no correlation with another, but with its negation -1."""
    split = memory_split(60)
    image_NHWC = split.read.image_NHWC = np.sort(split.read.image_NHWC, axis=2)  # correlated
    std_C = image_NHWC.std((0, 1, 2))
    kernel_HWIO = whitening.whitening_kernel(covariance(split, tmp_path), std_C)
    assert kernel_HWIO.shape == (2, 2, 3, 24)
    assert kernel_HWIO.dtype == np.float32
    normalised_ND = patches((image_NHWC - image_NHWC.mean((0, 1, 2))) / std_C)
    found = np.cov((normalised_ND @ kernel_HWIO.reshape(12, 24)).T, bias=True)
    expected = np.block([[np.eye(12), -np.eye(12)], [-np.eye(12), np.eye(12)]])
    np.testing.assert_allclose(found, expected, atol=0.03)  # variances are at least 0.02: + 5e-4
    vector_DD = kernel_HWIO.reshape(12, 24)[:, :12]
    assert (np.take_along_axis(vector_DD, np.abs(vector_DD).argmax(0)[None], 0) > 0).all()
    norms = np.linalg.norm(vector_DD, axis=0)
    assert (np.diff(norms) > 0).all()  # the largest variance first


def test_a_direction_without_variance_is_no_noise():
    kernel_HWIO = whitening.whitening_kernel(np.diag([4.0, -1e-18]).repeat(2, 0).repeat(2, 1)
                                             * np.eye(4), np.array([2.0]))  # fmt: skip
    np.testing.assert_allclose(np.abs(kernel_HWIO).max(), 5e-4**-0.5, rtol=1e-6)
