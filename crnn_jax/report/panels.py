"""A figure of examples: a row each, titles above the columns, a legend of their colours below."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.errors import UserError
from crnn_jax.report.drawing import GRAY, fitted_name, pyplot, save, text_width

_DPI = 160
_FONT = 9.0  # points
# Pixels of the figure.
_SHORTER, _LONGER = 240, 512  # sides that a small panel is enlarged to, and a large one reduced to
_GAP, _MARGIN, _LINE = 12, 16, 32
_SWATCH, _NAME = 20, 400  # a legend's square, and the most room for its name
_LARGEST = 2**16 - 1  # what matplotlib draws


class _Layout(NamedTuple):
    """Where everything is, in pixels from the upper left."""

    width: int
    height: int
    panel: tuple[int, int]  # height, width
    lefts: list[int]  # of the columns of panels, each as wide as `column`
    column: int
    tops: list[int]  # of the rows of panels
    entries: list[tuple[int, int]]  # left and top of those of the legend


def draw(
    path: pathlib.Path,
    rows: Sequence[Mapping[str, np.ndarray]],
    legend: Mapping[int, tuple[str, tuple[int, int, int]]],
) -> None:
    """Writes the picture.

    A panel's pixel is a square of whole pixels, unless the panel is large and reduced.

    Args:
      path: a .png.
      rows: at least one: panels, uint8 (H, W, 3), of one size, by their titles, the same in each.
      legend: (name, its red, green and blue in 0..255) by a number that orders them.

    Raises:
      UserError: so many rows that no picture holds them.
    """
    entries, titles = [legend[number] for number in sorted(legend)], list(rows[0])
    names = [fitted_name(name, _points(_NAME), _FONT) for name, _ in entries]
    layout = _lay_out(rows[0][titles[0]].shape[:2], titles, len(rows), names)
    plt = pyplot()
    size = layout.width / _DPI, layout.height / _DPI
    figure = plt.figure(figsize=size, dpi=_DPI)
    for left, title in zip(layout.lefts, titles, strict=True):
        text = fitted_name(title, _points(layout.column), _FONT)
        _write(figure, left + layout.column / 2, layout.tops[0] - _LINE / 2, text, "center")
    for top, panels in zip(layout.tops, rows, strict=True):
        for left, title in zip(layout.lefts, titles, strict=True):
            _draw_panel(figure, left + (layout.column - layout.panel[1]) // 2, top, layout.panel,
                        panels[title])  # fmt: skip
    for (left, top), name, (_, colour) in zip(layout.entries, names, entries, strict=True):
        _draw_swatch(figure, left, top + (_LINE - _SWATCH) // 2, colour)
        _write(figure, left + _SWATCH + _GAP, top + _LINE / 2, name, "left")
    save(figure, path, _DPI)
    plt.close(figure)


def _lay_out(
    pixels: tuple[int, ...], titles: Sequence[str], num_rows: int, names: Sequence[str]
) -> _Layout:
    """Returns the places of panels of so many pixels and of a legend with these names."""
    panel = _enlarged(*pixels)
    column = max(panel[1], *(min(_width(title), _NAME) for title in titles))
    across = len(titles) * (column + _GAP) - _GAP
    columns = _legend_columns([_SWATCH + _GAP + _width(name) for name in names], across)
    lines = -(-len(names) // max(1, len(columns)))
    legend = sum(columns) + 2 * _GAP * (len(columns) - 1)
    width = max(across, legend)
    tops = [_GAP + _LINE + row * (panel[0] + _GAP) for row in range(num_rows)]
    under = tops[-1] + panel[0] + _GAP
    height = under + lines * _LINE + _GAP
    if height > _LARGEST:
        most = num_rows - -(-(height - _LARGEST) // (panel[0] + _GAP))
        raise UserError(
            f"a picture of examples of {pixels[0]}x{pixels[1]} pixels expects at most {most} of "
            f"them, found {num_rows}: draw fewer, with --count"
        )
    lefts = [_MARGIN + (width - across) // 2 + n * (column + _GAP) for n in range(len(titles))]
    starts = [sum(columns[:n]) + 2 * _GAP * n for n in range(len(columns))]
    start = _MARGIN + (width - legend) // 2
    places = [
        (start + starts[index % len(columns)], under + index // len(columns) * _LINE)
        for index in range(len(names))
    ]
    return _Layout(width + 2 * _MARGIN, height, panel, lefts, column, tops, places)


def _legend_columns(widths: Sequence[int], across: int) -> list[int]:
    """Returns the widths of as many columns as fit, of one at least; entries fill line by line.

    The lines are as even as they can be: of 12 entries 6 and 6, and not 10 and 2.
    """
    for most in range(len(widths), 0, -1):
        lines = -(-len(widths) // most)
        count = -(-len(widths) // lines)
        columns = [max(widths[first::count]) for first in range(count)]
        if count == 1 or sum(columns) + 2 * _GAP * (count - 1) <= across:
            return columns
    return []


def _enlarged(height: int, width: int) -> tuple[int, int]:
    times = max(1, min(_SHORTER // min(height, width), _LONGER // max(height, width)))
    scale = min(times, _LONGER / max(height, width))
    return max(1, round(scale * height)), max(1, round(scale * width))


def _width(text: str) -> int:
    """Returns the pixels that a text takes."""
    return int(np.ceil(text_width(text, _FONT) * _DPI / 72))


def _points(pixels: float) -> float:
    return pixels * 72 / _DPI


def _place(figure: Any, left: float, top: float) -> tuple[float, float]:
    """Returns the figure's coordinates of a place in pixels from the upper left."""
    width, height = figure.get_size_inches() * _DPI
    return left / width, 1 - top / height


def _write(figure: Any, left: float, middle: float, text: str, align: str) -> None:
    figure.text(*_place(figure, left, middle), text, ha=align, va="center_baseline", fontsize=_FONT)


def _draw_panel(
    figure: Any, left: int, top: int, size: tuple[int, int], picture_HW3: np.ndarray
) -> None:
    x, y = _place(figure, left, top + size[0])
    right, upper = _place(figure, left + size[1], top)
    axis = figure.add_axes((x, y, right - x, upper - y))
    axis.imshow(picture_HW3, aspect="auto")
    axis.set(xticks=(), yticks=())
    axis.spines[:].set(color=GRAY, linewidth=0.5)


def _draw_swatch(figure: Any, left: int, top: int, colour: Sequence[int]) -> None:
    from matplotlib.patches import Rectangle

    x, y = _place(figure, left, top + _SWATCH)
    right, upper = _place(figure, left + _SWATCH, top)
    face = tuple(value / 255 for value in colour)
    figure.add_artist(Rectangle((x, y), right - x, upper - y, facecolor=face, edgecolor=GRAY,
                                linewidth=0.5))  # fmt: skip
