"""A figure of examples: exact pixels, titles, and a legend that covers nothing."""

import itertools

import numpy as np
import pytest
from PIL import Image

from crnn_jax.errors import UserError
from crnn_jax.report.panels import draw
from tests.names import HOSTILE

TITLES = ("image", "prediction", "truth")


def row_of(height, width, titles=TITLES, colour=(9, 99, 199)):
    return {title: np.full((height, width, 3), colour, np.uint8) for title in titles}


def overlap(one, other):
    return min(one.x1, other.x1) > max(one.x0, other.x0) + 0.5 and (
        min(one.y1, other.y1) > max(one.y0, other.y0) + 0.5
    )


def check_places(texts, figure):
    """Checks that all lies on the page and nothing on something else."""
    swatches = [patch.get_window_extent() for patch in figure.findobj(match=is_swatch)]
    places = [place for _, place in texts] + swatches
    places += [axis.get_window_extent() for axis in figure.axes]
    for place in places:
        assert 0 <= place.x0 <= place.x1 <= figure.bbox.x1
        assert 0 <= place.y0 <= place.y1 <= figure.bbox.y1
    for one, other in itertools.combinations(places, 2):
        assert not overlap(one, other)
    return swatches


def is_swatch(artist):
    from matplotlib.patches import Rectangle

    return isinstance(artist, Rectangle) and artist in artist.figure.artists


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(32, 32), (2, 64), (64, 2), (700, 900)])
@pytest.mark.parametrize("copies", [0, 1, 4])
def test_names_of_any_kind_cover_nothing(drawn, tmp_path, size, copies):
    names = [*HOSTILE, *"abcdefghijk"] * copies
    legend = {k: (name, (k, k, k)) for k, name in enumerate(names)}
    draw(tmp_path / "a.png", [row_of(*size)] * 3, legend)
    texts, figure = drawn()
    assert [text for text, _ in texts[:3]] == list(TITLES)
    assert len(check_places(texts, figure)) == len(names)
    assert len(figure.axes) == 9
    if copies:
        assert {"U+1F984 unicorn", "$\\frac{1}{2}$ & <b>_"} <= {text for text, _ in texts}


def test_each_name_stands_right_of_its_colour_and_in_order(drawn, tmp_path):
    colours = {7: ("late", (0, 114, 178)), 255: ("(ignored)", (255,) * 3), 0: ("ground", (0,) * 3)}
    draw(tmp_path / "a.png", [row_of(32, 32)], colours)
    texts, _ = drawn()
    names = texts[3:]
    assert [name for name, _ in names] == ["ground", "late", "(ignored)"]
    with Image.open(tmp_path / "a.png") as file:
        picture = np.asarray(file.convert("RGB"))
    for (_, place), (_, colour) in zip(names, (v for _, v in sorted(colours.items())), strict=True):
        middle = picture.shape[0] - round((place.y0 + place.y1) / 2)
        assert tuple(picture[middle, round(place.x0) - 22]) == colour


@pytest.mark.parametrize(("size", "times"), [((32, 32), 7), ((18, 27), 13), ((300, 400), 1)])
def test_each_pixel_is_a_square_of_whole_pixels(drawn, tmp_path, size, times):
    random = np.random.default_rng(0)
    rows = [
        {title: random.integers(0, 256, (*size, 3), np.uint8) for title in TITLES} for _ in range(2)
    ]
    draw(tmp_path / "a.png", rows, {})
    _, figure = drawn()
    with Image.open(tmp_path / "a.png") as file:
        picture = np.asarray(file.convert("RGB"))
    panels = [panel for row in rows for panel in row.values()]
    for axis, panel in zip(figure.axes, panels, strict=True):
        place = axis.get_window_extent()
        left, top = round(place.x0), picture.shape[0] - round(place.y1)
        large = panel.repeat(times, axis=0).repeat(times, axis=1)
        found = picture[top : top + large.shape[0], left : left + large.shape[1]]
        np.testing.assert_array_equal(found[2:-2, 2:-2], large[2:-2, 2:-2])  # not its frame


def test_a_panel_without_a_title_is_drawn(drawn, tmp_path):
    draw(tmp_path / "a.png", [row_of(8, 8, titles=("",))], {})
    assert drawn()[0] == []


def test_more_rows_than_a_picture_holds_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"32x32 pixels expects at most 277 of them, found 278"):
        draw(tmp_path / "a.png", [row_of(32, 32)] * 278, {0: ("a", (0, 0, 0))})
