"""Charts: every tick's text has the room that it needs, and no more."""

import html
import json
import re

import pytest

from crnn_jax.report.bars import Measured, dot_rows
from crnn_jax.report.charts import WIDTH, Series, heat_map, line_chart, text_width

TICK = re.compile(r'class="tick (end|mid)" x="([\d.]+)"[^>]*>([^<]*)<')


def spans(chart):
    """Yields (start, end) of each tick's text."""
    for anchor, place, text in TICK.findall(chart):
        wide = text_width(text)
        end = float(place) + (wide / 2 if anchor == "mid" else 0)
        yield end - wide, end


@pytest.mark.parametrize(
    ("low", "high"), [(5.47e8, 5.76e8), (-1e-5, 1e-5), (0, 1), (-2.5e9, 3), (12_500, 987_500)]
)
def test_no_tick_of_a_line_chart_is_cut(low, high):
    ends = [line_chart("y", "x", [Series("a", [(low, 0), (high, 1)], 0)]),
            line_chart("y", "x", [Series("a", [(0, low), (1, high)], 0)])]  # fmt: skip
    for chart in ends:
        assert len(list(spans(chart))) > 5
        assert all(start >= -0.1 and end <= WIDTH + 0.1 for start, end in spans(chart))


def test_no_name_or_tick_of_dot_rows_is_cut():
    rows = [Measured("a name of any length", 1_234_000.0, None, 1_300_000.0)]
    chart = dot_rows("y", rows, ("ours", "theirs"), "%")
    assert ">a name of any <" in chart
    assert all(start >= -0.1 and end <= WIDTH + 0.1 for start, end in spans(chart))


@pytest.mark.parametrize(
    ("rows", "columns", "edge"),
    [(["0", "1"], ["a", "b"], [13, 13]), (["a rather long name"], ["1"], [80, 13])],
)
def test_names_beside_a_heat_map_have_the_room_they_need(rows, columns, edge):
    shares, texts = [[0.5] * len(columns)] * len(rows), [["1"] * len(columns)] * len(rows)
    chart = heat_map("title", rows, columns, shares, texts, axes=("true", "predicted"))
    found = re.search(r'data-heat="([^"]*)"', chart)
    assert found is not None
    assert json.loads(html.unescape(found[1]))["edge"] == edge
    cell = re.search(r'class="cell" x="(\d+)" y="(\d+)"', chart)
    assert cell is not None
    assert [int(cell[1]), int(cell[2])] == edge
