"""Pictures of an evaluation's report: their size, and names of any kind."""

import numpy as np
import pytest
from PIL import Image

from crnn_jax.report.evaluation import confusion_figure, mistakes_figure
from tests.names import HOSTILE


@pytest.mark.filterwarnings("error")
def test_names_leave_room_for_the_matrix(drawn, tmp_path):
    count = len(HOSTILE)
    facts = {"confusion": np.eye(count, dtype=int).tolist(), "class_names": HOSTILE}
    confusion_figure(facts, tmp_path / "a.png")
    texts, figure = drawn()
    matrix, page = figure.axes[0].get_window_extent(), figure.bbox
    assert matrix.width > 0.6 * page.width
    for text, place in texts:
        assert page.x0 <= place.x0 <= place.x1 <= page.x1, text
        assert page.y0 <= place.y0 <= place.y1 <= page.y1, text


@pytest.mark.filterwarnings("error")
def test_names_stay_over_their_pictures(drawn, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    items = [
        {
            "index": 0,
            "true": f"not {name}",
            "predicted": name,
            "probability": 0.9,
            "picture": "0.png",
        }
        for name in HOSTILE
    ]
    mistakes_figure({"mistakes": items}, tmp_path / "a.png")
    texts, figure = drawn()
    assert sum("90.0%\n" in text for text, _ in texts) == len(HOSTILE)
    column = figure.bbox.width / 6
    for text, place in texts:
        assert place.x0 // column == place.x1 // column, text


CLASS = {"true": "t" * 30, "predicted": "p" * 30, "probability": 1.0}
MASK = {"mean_iou": 0.5}


@pytest.mark.parametrize(
    ("kind", "count", "inches"),
    [(CLASS, 1, (1.6, 2.1)), (CLASS, 3, (4.8, 2.1)), (CLASS, 7, (9.6, 4.2)), (MASK, 1, (4.8, 1.9)),
     (MASK, 3, (9.6, 3.8))],
)  # fmt: skip
def test_a_picture_of_mistakes_is_as_large_as_their_number(tmp_path, kind, count, inches):
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    items = [{"index": 0, "picture": "0.png", **kind} for _ in range(count)]
    mistakes_figure({"mistakes": items}, tmp_path / "mistakes.png")
    with Image.open(tmp_path / "mistakes.png") as image:
        assert image.size == pytest.approx([110 * size for size in inches], abs=1)
