"""Charts of the page as inline SVG: colours are CSS's, so that they fit a dark page and print.

A chart carries its numbers in an attribute, from which the page's script shows those under the
pointer. Every name is escaped here, and its control characters with it.
"""

import json
import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from crnn_jax.errors import printable

WIDTH, HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 34  # at least
_CHARACTER = 7.4  # width of one in a tick's text, in a wide font
COLOURS = 7  # classes c0 to c6 of the style sheet
_WRITTEN = 12  # columns of a heat map up to which its cells have their text


class Series(NamedTuple):
    """A line of a chart.

    Attributes:
      name: any characters.
      points: (x, y), x ascending.
      colour: which of the page's, from 0 on; they repeat.
      style: "solid", "dashed", or "dots" without a line.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    style: str = "solid"


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Returns about `count` round numbers within [low, high], ascending."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [step * k for k in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """Returns a number for an axis or a tip: "0.0125", "1.5k", "3e-05"."""
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-4:
        return f"{value:.3g}"
    return f"{value / 1000:.4g}k" if size >= 10_000 else f"{value:.4g}"


def text_width(text: str) -> float:
    """Returns room enough for the text of a tick, in the units of a chart."""
    return _CHARACTER * len(text)


def line_chart(
    title: str,
    x_name: str,
    series: Sequence[Series],
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    x_ticks: Sequence[float] | None = None,
    diagonal: bool = False,
    legend: Sequence[Series] | None = None,
) -> str:
    """Returns a figure of lines with a legend; "" for no points at all.

    Args:
      title: what y is.
      x_name: what x is.
      series: the lines; empty ones are left out.
      x_range: the ends of the axis; None: those of the points.
      y_range: likewise.
      x_ticks: where x is written; None: at round numbers.
      diagonal: whether to draw y = x.
      legend: whose names stand below the chart; None: those of the lines, where there are several.
    """
    series = [line._replace(name=printable(line.name)) for line in series if line.points]
    if not series:
        return ""
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    own_range = (min(xs), max(xs)) if min(xs) < max(xs) else _widened(min(xs), max(xs))
    x0, x1 = x_range or own_range
    y0, y1 = y_range or _widened(min(ys), max(ys))

    x_ticks, y_ticks = x_ticks or nice_ticks(x0, x1), nice_ticks(y0, y1)
    left, right = _edges(x_ticks, y_ticks)

    def at(x: float, y: float) -> tuple[float, float]:
        across = left + (x - x0) / (x1 - x0) * (right - left)
        up = HEIGHT - _BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - _TOP - _BOTTOM)
        return round(across, 1), round(up, 1)

    parts = [_axes(x_ticks, y_ticks, at, x_name, (left, right))]
    if diagonal:
        (a, b), (c, d) = at(max(x0, y0), max(x0, y0)), at(min(x1, y1), min(x1, y1))
        parts.append(f'<path class="diagonal" d="M{a} {b}L{c} {d}"/>')
    for line in series:
        parts.append(_line(line, [at(x, y) for x, y in line.points]))
    data = _told(x_name, (x0, x1), series, (left, right))
    if legend is None:
        legend = series if len(series) > 1 else ()
    entries = "".join(_legend_entry(line) for line in legend)
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" '
        f'aria-label="{escape(_spoken(title, x_name, series))}" '
        f'data-lines="{data}">{"".join(parts)}'
        f'<path class="cursor" d=""/></svg>'
        + (f'<ul class="legend">{entries}</ul>' if entries else "")
        + "</figure>"
    )


def _edges(x_ticks: Sequence[float], y_ticks: Sequence[float]) -> tuple[float, float]:
    """Returns where the lines' area begins and ends, so that every tick's text has room."""
    left = max(_LEFT, *(6 + text_width(short(value)) for value in y_ticks))
    half = max(text_width(short(value)) for value in x_ticks) / 2
    return round(max(left, half), 1), round(WIDTH - max(_RIGHT, half), 1)


def _told(
    x_name: str,
    x_range: tuple[float, float],
    series: Sequence[Series],
    edges: tuple[float, float],
) -> str:
    """Returns what the page's script reads of a chart, as an attribute."""
    lines = [
        {"name": line.name, "points": [[_digits(x), _digits(y)] for x, y in line.points]}
        for line in series
    ]
    box = [edges[0], _TOP, edges[1], HEIGHT - _BOTTOM]
    return _attribute({"x": x_name, "box": box, "range": x_range, "series": lines})


def _attribute(value: Any) -> str:
    return escape(json.dumps(value, separators=(",", ":")))


def _spoken(title: str, x_name: str, series: Sequence[Series]) -> str:
    """Returns what a screen reader says of a chart: the last value of each of its first lines."""
    said = [f"{line.name} ends at {short(line.points[-1][1])}" for line in series[:6]]
    more = f", and {len(series) - 6} more" if len(series) > 6 else ""
    return f"{title} by {x_name}: {', '.join(said)}{more}"


def _widened(low: float, high: float) -> tuple[float, float]:
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _digits(value: float) -> float:
    return float(f"{value:.5g}")


def _axes(
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    at: Any,
    x_name: str,
    edges: tuple[float, float],
) -> str:
    left, right = edges
    parts = []
    for value in y_ticks:
        _, y = at(x_ticks[0], value)
        parts.append(f'<path class="grid" d="M{left} {y}H{right}"/>')
        parts.append(f'<text class="tick end" x="{left - 6}" y="{y + 4}">{short(value)}</text>')
    for value in x_ticks:
        x, _ = at(value, y_ticks[0])
        parts.append(f'<text class="tick mid" x="{x}" y="{HEIGHT - 18}">{short(value)}</text>')
    middle = (left + right) / 2
    parts.append(f'<text class="name mid" x="{middle}" y="{HEIGHT - 3}">{escape(x_name)}</text>')
    return "".join(parts)


def _line(line: Series, places: list[tuple[float, float]]) -> str:
    colour = f"c{line.colour % COLOURS}"
    if line.style == "dots" or len(places) == 1:
        return "".join(f'<circle class="dot {colour}" cx="{x}" cy="{y}" r="4"/>' for x, y in places)
    path = "L".join(f"{x} {y}" for x, y in places)
    dashed = " dashed" if line.style == "dashed" else ""
    return f'<path class="line {colour}{dashed}" d="M{path}"/>'


def _legend_entry(line: Series) -> str:
    style = "dots" if line.style == "dots" or len(line.points) == 1 else line.style
    mark = {
        "solid": '<path class="line {0}" d="M0 6H22"/>',
        "dashed": '<path class="line dashed {0}" d="M0 6H22"/>',
        "dots": '<circle class="dot {0}" cx="11" cy="6" r="4"/>',
    }[style].format(f"c{line.colour % COLOURS}")
    sample = f'<svg class="sample" viewBox="0 0 22 12" aria-hidden="true">{mark}</svg>'
    return f"<li>{sample}{escape(printable(line.name))}</li>"


def heat_map(
    title: str,
    row_names: Sequence[str],
    column_names: Sequence[str],
    shares: Sequence[Sequence[float]],
    texts: Sequence[Sequence[str]],
    *,
    axes: tuple[str, str],
) -> str:
    """Returns a figure of cells whose colour is a share, 0..1, and whose text is told on hover.

    Args:
      title: what a cell is.
      row_names: any characters; shown up to 30 of them.
      column_names: likewise.
      shares: 0..1, rows of columns.
      texts: what cells say, rows of columns; shown in cells up to 12 columns.
      axes: what rows and columns are.
    """
    row_names, column_names = (list(map(printable, names)) for names in (row_names, column_names))
    is_long = any(len(text) > 4 for row in texts for text in row)
    cell = 52 if is_long and len(column_names) <= 6 else 30
    if len(column_names) > _WRITTEN:
        cell = max(4, 360 // len(column_names))
    named = max(len(row_names), len(column_names)) <= 30
    left, top = (_room(names) if named else 6 for names in (row_names, column_names))
    width, height = left + cell * len(column_names) + 6, top + cell * len(row_names) + 6
    parts = _cells(shares, texts, (left, top), cell, " small" if is_long and cell == 30 else "")
    if named:
        parts += _names(row_names, column_names, (left, top), cell)
    parts.append(f'<rect class="frame" x="{left}" y="{top}" width="{width - left - 6}" '
                 f'height="{height - top - 6}"/>')  # fmt: skip
    data = {
        "edge": [left, top],
        "cell": cell,
        "axes": axes,
        "rows": row_names,
        "columns": column_names,
        "texts": [list(row) for row in texts],
    }
    return (
        f'<figure class="chart heat"><figcaption>{escape(title)}</figcaption>'
        f'<p class="quiet">Rows: {escape(axes[0])}; columns: {escape(axes[1])}.</p>'
        f'<svg viewBox="0 0 {width} {height}" width="{1.2 * width:.0f}" role="img" tabindex="0" '
        f'aria-label="{escape(f"{title}: {len(row_names)} by {len(column_names)} cells")}" '
        f'data-heat="{_attribute(data)}">{"".join(parts)}'
        f'<rect class="pick" width="{cell}" height="{cell}" visibility="hidden"/></svg></figure>'
    )


def _cells(
    shares: Sequence[Sequence[float]],
    texts: Sequence[Sequence[str]],
    edge: tuple[int, int],
    cell: int,
    small: str,
) -> list[str]:
    parts = []
    for y, row in enumerate(shares):
        for x, share in enumerate(row):
            if share <= 0:
                continue
            left, top = edge[0] + x * cell, edge[1] + y * cell
            parts.append(f'<rect class="cell" x="{left}" y="{top}" width="{cell}" height="{cell}" '
                         f'fill-opacity="{min(1.0, share):.3f}"/>')  # fmt: skip
            if len(row) <= _WRITTEN:
                # Dark on the middle shades, which are too light for white and too dark for gray.
                on = " on" if share > 0.85 else " over" if share > 0.62 else ""
                parts.append(f'<text class="value mid{on}{small}" x="{left + cell / 2}" '
                             f'y="{top + cell / 2 + 4}">{escape(texts[y][x])}</text>')  # fmt: skip
    return parts


def _names(
    row_names: list[str], column_names: list[str], edge: tuple[int, int], cell: int
) -> list[str]:
    (left, top), parts = edge, []
    for y, name in enumerate(row_names):
        at = top + (y + 0.5) * cell + 4
        parts.append(f'<text class="tick end" x="{left - 5}" y="{at}">{escape(_cut(name))}</text>')
    for x, name in enumerate(column_names):
        at = left + (x + 0.5) * cell + 4
        parts.append(f'<text class="tick" transform="translate({at} {top - 5}) rotate(-90)">'
                     f"{escape(_cut(name))}</text>")  # fmt: skip
    return parts


def _cut(name: str) -> str:
    return name if len(name) <= 10 else f"{name[:9]}…"


def _room(names: Sequence[str]) -> int:
    """Returns the room beside the cells that their names need."""
    return round(6 + max((text_width(_cut(name)) for name in names), default=0))
