import dataclasses
import math

import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.data.crops import Crop, make_crop

RANDOM = Crop("random_resized", 224, 256, 0.08, seed=5)
PAPER = dataclasses.replace(RANDOM, kind="paper")


@pytest.mark.parametrize("size", [(375, 500), (1, 1), (2, 900), (4000, 3), (10_000, 8_000)])
@pytest.mark.parametrize("crop", [RANDOM, PAPER, PAPER.evaluation()], ids=lambda c: c.kind)
def test_boxes_lie_in_the_image(crop, size):
    for example in range(100):
        top, left, height, width = crop.box(0, example, *size)
        assert 0 <= top <= top + height <= size[0] + 1e-9
        assert 0 <= left <= left + width <= size[1] + 1e-9
        assert min(height, width) > 0


def test_random_resized_has_the_areas_and_ratios_of_its_definition():
    boxes = np.array([RANDOM.box(1, example, 1000, 1000) for example in range(4000)])
    area_N, ratio_N = boxes[:, 2] * boxes[:, 3] / 1e6, boxes[:, 3] / boxes[:, 2]
    assert 0.078 < area_N.min() < 0.09
    assert area_N.max() < 1.0
    assert 0.74 < ratio_N.min() < 0.76
    assert 1.32 < ratio_N.max() < 1.34
    assert abs(np.mean(np.log(ratio_N))) < 0.01  # uniform in the logarithm
    # Boxes that do not fit are drawn again: of the area u, by integration, those with u r <= 1 and
    # u / r <= 1 stay.
    u, r = np.meshgrid(np.linspace(0.08, 1, 500), np.exp(np.linspace(-1, 1, 500) * math.log(4 / 3)))
    fits = (u * r <= 1) & (u / r <= 1)
    assert np.mean(area_N) == pytest.approx(u[fits].mean(), abs=0.015)
    # Where there is room, each place is as likely: the middle of the free space on average.
    free_N = 1000 - boxes[:, 2]
    assert np.mean(boxes[:, 0] / np.maximum(free_N, 1)) == pytest.approx(0.5, abs=0.02)


def test_no_box_of_the_ratio_fits_a_strip():
    assert RANDOM.box(0, 0, 100, 10_000) == (0, 4933, 100, 133)
    assert RANDOM.box(0, 0, 10_000, 90) == (4940, 0, 120, 90)


def test_center_and_paper_are_squares_of_the_resized_image():
    # 375 x 500 with the shorter side at 256 is 256 x 341.3; 224 of it are 328.1 stored pixels.
    top, left, height, width = PAPER.evaluation().box(3, 4, 375, 500)
    assert height == width == 375 * 224 / 256
    assert (top, left) == ((375 - height) / 2, (500 - width) / 2)
    boxes = np.array([PAPER.box(0, example, 375, 500) for example in range(2000)])
    assert (boxes[:, 2:] == height).all()
    for column, free in ((0, 375 - height), (1, 500 - width)):
        share_N = boxes[:, column] / free
        np.testing.assert_allclose(np.histogram(share_N, 4, (0, 1))[0], 500, atol=90)


def test_a_function_of_seed_epoch_and_example_alone():
    other_seed = dataclasses.replace(RANDOM, seed=6)
    first = RANDOM.box(2, 9, 375, 500)
    assert first == RANDOM.box(2, 9, 375, 500)
    others = [RANDOM.box(3, 9, 375, 500), RANDOM.box(2, 10, 375, 500), RANDOM.box(9, 2, 375, 500)]
    assert len({first, *others, other_seed.box(2, 9, 375, 500)}) == 5


def test_made_from_a_config():
    config = default_config("crnn")
    assert make_crop(config) is None
    config.data.crop, config.data.image_size, config.seed = "paper", 224, 4
    assert make_crop(config) == Crop("paper", 224, 256, 0.08, 4)
    config.data.short_side = 300
    crop = make_crop(config)
    assert crop is not None
    assert crop.short_side == 300
