"""Names of any kind stay in the legend, which stays on the page."""

import pytest

from crnn_jax.report.robustness import robustness_figure
from tests.names import HOSTILE


@pytest.mark.filterwarnings("error")
def test_the_legend_stays_on_the_page(drawn, tmp_path):
    rows = [
        {"corruption": "noise" if strength else "clean", "strength": strength, "accuracy": 0.5,
         "num_examples": 10}
        for strength in range(6)
    ]  # fmt: skip
    corruptions = {"noise": {"sizes": [1, 2, 3, 4, 5], "unit": "times"}}
    content = {
        "corruptions": corruptions,
        "runs": [{"run": name, "rows": rows} for name in HOSTILE],
    }
    robustness_figure(content, tmp_path / "a.png")
    texts, figure = drawn()
    page = figure.bbox
    assert "U+1F984 unicorn" in {text for text, _ in texts}
    for text, place in texts:
        assert page.x0 <= place.x0 <= place.x1 <= page.x1, text
