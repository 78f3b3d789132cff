"""Numbers lie beside their points, on no line and on no other number."""

import itertools

import pytest

from crnn_jax.report.anytime import anytime_figure

CIFAR = [(0.1, 50, 0.02), (0.2, 86, 0.014), (0.3, 90.3, 0.011), (0.4, 91.7, 0.01),
         (0.5, 92.4, 0.008), (0.6, 92.6, 0.007), (0.9, 92.6, 0.001)]  # fmt: skip
DIGITS = [(0.1, 97.5, 0.077), (0.2, 97.5, 0.076), (0.3, 99.4, 0.06), (0.8, 99.4, 0.0),
          (0.9, 99.4, -0.001)]  # fmt: skip
SAME = [(0.1, 50, 0.0), (0.5, 50, 0.0), (0.9, 50, 0.0)]


def draw(path, exits):
    after = [{"step": step, "accuracy": accuracy} for step, accuracy in ((1, 0.5), (2, 0.926))]
    anytime_figure(
        {
            "steps": 2, "split": "test", "flops_per_image": 100.0, "after": after,
            "exits": [
                {"threshold": sure, "accuracy": percent / 100, "flops_per_image": 100 * (1 - saved)}
                for sure, percent, saved in exits
            ],
        },
        path,
    )  # fmt: skip


@pytest.mark.parametrize("exits", [CIFAR, DIGITS, SAME])
def test_no_number_lies_on_a_line_or_another_number(drawn, tmp_path, exits):
    draw(tmp_path / "a.png", exits)
    _, figure = drawn()
    axis = figure.axes[1]
    boxes = [text.get_window_extent() for text in axis.texts]
    lines = [line.get_transform().transform_path(line.get_path()) for line in axis.lines]
    for box in boxes:
        assert not any(line.intersects_bbox(box, filled=False) for line in lines)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_points_that_would_cover_each_other_are_one(drawn, tmp_path):
    shown = []
    for exits in (CIFAR, DIGITS, SAME):
        draw(tmp_path / "a.png", exits)
        shown.append({text.get_text() for text in drawn()[1].axes[1].texts})
    assert shown[0] >= {"0.1", "0.2", "0.9"}
    assert shown[1] == {"0.1–0.2", "0.3", "0.8–0.9"}
    assert shown[2] == {"0.1–0.9"}


def test_the_dashed_line_has_a_name(drawn, tmp_path):
    draw(tmp_path / "a.png", CIFAR)
    assert "all steps read" in {text for text, _ in drawn()[0]}
