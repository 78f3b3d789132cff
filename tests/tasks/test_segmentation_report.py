"""The figures of a segmentation's report, against numbers computed by hand."""

import numpy as np
import pytest

from crnn_jax.data.fields import IGNORE
from crnn_jax.tasks.segmentation_report import bootstrap, make_report

NAMES = ("ground", "road", "tree")
TRUE_NHW = np.array([[[0, 0], [1, 1]], [[0, 1], [IGNORE, 1]], [[0, 0], [0, 0]]], np.uint8)
MASK_NHW = np.array([[[0, 1], [1, 1]], [[0, 0], [1, 0]], [[0, 0], [0, 0]]], np.uint8)


def test_figures_of_each_class_and_the_worst_images():
    report = make_report(MASK_NHW, TRUE_NHW, np.array([True, True, True]), NAMES)
    assert report.facts["confusion"] == [[6, 1, 0], [2, 2, 0], [0, 0, 0]]
    ground, road, tree = report.facts["classes"]
    assert ground["iou"] == pytest.approx(6 / 9)
    assert (road["iou"], road["precision"]) == (pytest.approx(2 / 5), pytest.approx(2 / 3))
    assert (road["recall"], road["f1"]) == (pytest.approx(1 / 2), pytest.approx(4 / 7))
    assert [tree[name] for name in ("num_pixels", "iou", "precision", "recall", "f1")] == [
        0,
        None,
        None,
        None,
        None,
    ]
    # Images: (1/2 + 2/3) / 2; (1/3 + 0) / 2; 1.
    assert [row["index"] for row in report.facts["mistakes"]] == [1, 0, 2]
    assert [row["mean_iou"] for row in report.rows] == pytest.approx([7 / 12, 1 / 6, 1.0])


def test_an_unreadable_image_is_left_out():
    report = make_report(MASK_NHW, TRUE_NHW, np.array([True, False, True]), NAMES)
    assert [row["index"] for row in report.rows] == [0, 2]
    assert report.facts["confusion"][1] == [0, 2, 0]


def test_the_interval_has_the_score_in_it_and_narrows_with_more_images():
    random = np.random.default_rng(0)
    hit_NK = random.integers(0, 50, (400, 3))
    union_NK = hit_NK + random.integers(1, 50, (400, 3))
    score = np.mean(hit_NK.sum(0) / union_NK.sum(0))
    low, high = bootstrap(hit_NK, union_NK)
    few_low, few_high = bootstrap(hit_NK[:25], union_NK[:25])
    assert low < score < high
    assert high - low < 0.5 * (few_high - few_low)
    one = bootstrap(hit_NK[:1], union_NK[:1])
    assert one[0] == one[1]
