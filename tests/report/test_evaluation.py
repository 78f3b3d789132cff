"""Pictures of an evaluation's report."""

import pytest
from PIL import Image

from crnn_jax.report.evaluation import mistakes_figure

CLASS = {"true": "t" * 30, "predicted": "p" * 30, "probability": 1.0}
MASK = {"mean_iou": 0.5}


@pytest.mark.parametrize(
    ("kind", "count", "inches"),
    [(CLASS, 1, (2.2, 2.1)), (CLASS, 3, (4.8, 2.1)), (CLASS, 7, (9.6, 4.2)), (MASK, 1, (4.8, 1.9)),
     (MASK, 3, (9.6, 3.8))],
)  # fmt: skip
def test_a_picture_of_mistakes_is_as_large_as_their_number(tmp_path, kind, count, inches):
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    items = [{"index": 0, "picture": "0.png", **kind} for _ in range(count)]
    mistakes_figure({"mistakes": items}, tmp_path / "mistakes.png")
    with Image.open(tmp_path / "mistakes.png") as image:
        assert image.size == pytest.approx([110 * size for size in inches], abs=1)
