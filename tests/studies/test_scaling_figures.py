"""Every line can be told from the others, and what is written covers nothing."""

import numpy as np
import pytest
from matplotlib.legend import Legend

from crnn_jax.studies.hardware import CHIPS
from crnn_jax.studies.scaling_figures import draw

CONFIG = "configs/imagenet.py:crnn,$_<\U0001f984=" + "long " * 60


def content(config=CONFIG, speedups=(1.0, 0.8, 0.3)):
    points = [
        {"devices": 2**n, "speedup": speedup, "efficiency": speedup / 2**n, "seconds": 1.0,
         "collective_seconds": 0.1 * n, "described": "CPU: test, 2 cores"}
        for n, speedup in enumerate(speedups)
    ]  # fmt: skip
    one_device = [
        {"batch_size": batch, "step_seconds": [batch**0.9], "flops_per_image": 1e10,
         "bytes_accessed": 1e9 * batch**0.4, "matmul_flops": 1.2e11}
        for batch in (4, 8, 16)
    ]  # fmt: skip
    chips = [{"chips": 2**n, "images_per_second": 1e5 * n, "efficiency": 1 / n} for n in (3, 4)]
    return {
        "mode": "strong", "config": config, "virtual": True, "points": points,
        "one_device": one_device,
        "projection": {"batch_size": 4096, "chips": {name: {"points": chips} for name in CHIPS}},
    }  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("config", ["configs/digits.py:crnn", CONFIG])
def test_titles_say_what_is_shown_and_fit(drawn, tmp_path, config):
    assert len(draw(tmp_path / "some_file_strong.json", content(config))) == 2
    texts, figure = drawn()
    title = figure.get_suptitle()
    assert "Projection of configs/" in title
    assert "global batch 4,096" in title
    assert "some_file" not in title
    (place,) = [place for text, place in texts if text == title]
    assert 0 <= place.x0 <= place.x1 <= figure.bbox.x1
    assert not any("$\\mathdefault" in text for text, _ in texts)


def test_no_two_lines_look_alike(drawn, tmp_path):
    draw(tmp_path / "a.json", content())
    lines = drawn()[1].axes[0].get_lines()
    assert len({line.get_marker() for line in lines}) == len(CHIPS)
    assert len({line.get_color() for line in lines}) == len(CHIPS)


@pytest.fixture
def measured(drawn, tmp_path):
    draw(tmp_path / "a.json", {k: v for k, v in content().items() if k != "projection"})
    return drawn()


def test_a_speed_up_below_one_has_ticks(measured):
    _, figure = measured
    assert {"0.25", "0.5", "1"} <= {text.get_text() for text in figure.axes[0].get_yticklabels()}


def test_legends_lie_below_the_axes_and_numbers_beside_their_points(measured):
    texts, figure = measured
    for axes in figure.axes:
        (legend,) = axes.findobj(Legend)
        place = legend.get_window_extent()
        assert place.y1 < axes.get_window_extent().y0
        assert place.y0 >= 0
    roofline = figure.axes[2]
    points = [line for line in roofline.get_lines() if line.get_marker() == "."]
    places = np.vstack([roofline.transData.transform(line.get_xydata()) for line in points])
    inside = roofline.get_window_extent()
    numbers = [p for text, p in texts if text in ("4", "8", "16") and inside.x0 < p.x0]
    assert len(numbers) == 3
    for place in numbers:
        assert place.y0 > inside.y0
        grown = place.padded(2)
        assert not any(grown.contains(x, y) for x, y in places)
