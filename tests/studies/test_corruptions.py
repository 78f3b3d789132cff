"""Each corruption by hand on small images."""

import colorsys

import numpy as np
import pytest

from crnn_jax.studies.corruptions import CORRUPTIONS, STRENGTHS, corrupt, sizes_of


def apply(name, image_HWC, size):
    return CORRUPTIONS[name].apply(image_HWC, size, np.random.default_rng(0))


def drawn(*shape):
    return np.random.default_rng(1).random(shape)


def test_noise_has_its_deviation():
    image_HWC = np.full((100, 100, 3), 0.5)
    assert np.std(apply("noise", image_HWC, 0.1)) == pytest.approx(0.1, rel=0.02)


def test_blur_spreads_and_keeps_the_sum():
    image_HWC = np.zeros((21, 21, 1))
    image_HWC[10, 10] = 1
    found = apply("blur", image_HWC, 1.0)
    assert found.sum() == pytest.approx(1)
    assert found[10, 10, 0] == pytest.approx(1 / (2 * np.pi), rel=0.01)  # of a Gaussian
    np.testing.assert_allclose(apply("blur", np.full((4, 4, 3), 0.3), 1.0), 0.3)  # edges too


def test_contrast_is_about_each_channels_mean():
    image_HWC = np.array([[[0.0, 0.4], [1.0, 0.6]]])
    expected = [[[0.25, 0.45], [0.75, 0.55]]]
    np.testing.assert_allclose(apply("contrast", image_HWC, 0.5), expected)


def test_brightness_is_that_of_hsv():
    image_HWC = drawn(3, 4, 3)
    image_HWC[0, 0] = 0
    found = apply("brightness", image_HWC, 0.3)
    for place in np.ndindex(3, 4):
        hue, saturation, value = colorsys.rgb_to_hsv(*image_HWC[place])
        expected = colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.3))
        np.testing.assert_allclose(found[place], expected, atol=1e-9)


def test_shift_moves_whole_pixels_and_repeats_the_edge():
    image_HWC = np.arange(12.0).reshape(3, 4, 1)
    found = apply("shift", image_HWC, 0.2)  # 0.6 and 0.8 pixels: 1 and 1
    down, right = (np.random.default_rng(0).random(2) < 0.5) * 2 - 1
    padded = np.pad(image_HWC[..., 0], 1, mode="edge")
    np.testing.assert_array_equal(found[..., 0], padded[1 - down :, 1 - right :][:3, :4])


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_loses_more_at_a_lower_quality(channels):
    image_HWC = drawn(16, 16, channels)
    errors = [np.abs(apply("JPEG", image_HWC, quality) - image_HWC).mean() for quality in (95, 7)]
    assert errors[0] < errors[1]
    assert apply("JPEG", image_HWC, 50).shape == image_HWC.shape


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (80, 60, 3)])
def test_strengths_grow_and_an_example_has_its_own_random_numbers(name, shape):
    image_HWC = (255 * drawn(*shape)).astype(np.uint8)
    found = [corrupt(image_HWC, name, strength, 5) for strength in STRENGTHS]
    assert all(image.dtype == np.uint8 and image.shape == shape for image in found)
    errors = [np.abs(image.astype(float) - image_HWC).mean() for image in found]
    assert errors[0] > 0
    if name != "shift":  # of noise a farther shift is as wrong
        assert errors[0] < errors[-1]
    np.testing.assert_array_equal(corrupt(image_HWC, name, 3, 5), found[2])
    if name == "noise":
        assert (corrupt(image_HWC, name, 3, 6) != found[2]).any()


def test_sizes_are_those_of_the_image():
    assert sizes_of("JPEG", 64, 64) == (80, 65, 58, 50, 40)
    assert sizes_of("JPEG", 64, 65) == (25, 18, 15, 10, 7)
