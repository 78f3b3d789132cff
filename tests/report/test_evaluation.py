"""Names of any kind stay beside the matrix and over their pictures."""

import numpy as np
import pytest
from PIL import Image

from crnn_jax.report.evaluation import confusion_figure, mistakes_figure

HOSTILE = (
    "$\\frac{1}{2}$ & <b>_",
    "_hidden",
    "\U0001f984",
    "line\nbreak",
    "long " * 12,
    "W" * 60,
    "",
)


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
