"""Fig. 1: what a model is made of, drawn from left to right, and the same as a table."""

import contextlib
import math
import pathlib
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from crnn_jax.report.drawing import GRAY, engineering, fitted_name, pyplot, save, shown_name
from crnn_jax.report.inline_svg import inline_svg

_FILLS = {  # light shades of Okabe and Ito's colours
    "input": "#E8E8E8",
    "cut": "#E8E8E8",
    "map": "#A9D2EC",
    "block": "#F6CE8B",
    "recurrence": "#F6CE8B",
    "readout": "#F3DFB9",
    "head": "#A6DCC8",
    "rest": "#A6DCC8",
}
_EDGE = "#333333"
_WIDTHS = {"block": 2.15, "recurrence": 2.5, "readout": 1.25, "rest": 1.35}  # inches; the others:
_WIDTH = 1.55
_HEIGHT = 1.05  # the largest map's
_MIDDLE = 0.0  # height at which everything is centred
_TOP = 0.9  # height of the page above the middle
_CAPTION = -0.8  # height at which captions begin
_TITLE_LINE, _LINE = 0.165, 0.15  # heights of their lines
_SHOWN_STEPS = 5  # a longer sequence shows its first ones and its last
_LONGEST = 160  # characters of a title or a note


def shape_text(shape: list[int]) -> str:
    """Returns "32 × 32 × 3"."""
    return " × ".join(f"{size:,}" if size > 9999 else str(size) for size in shape)


def architecture_table(content: dict[str, Any]) -> str:
    """Returns a line for each stage, and their sum."""
    lines = [
        "| stage | of one example | steps read | parameters | MFLOP |",
        "| --- | --- | --- | --- | --- |",
    ]
    for stage in content["stages"]:
        title = ", ".join([stage["title"], *stage["notes"]])
        cells = [
            title,
            shape_text(stage["output"]),
            "-" if stage["steps"] is None else str(stage["steps"]),
            f"{stage['parameters']:,}" if stage["parameters"] else "-",
            _mega(stage["flops"]) if stage["flops"] else "-",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append(f"| all | | | {content['parameters']:,} | {_mega(content['flops'])} |")
    note = (
        f"{content['config']}: FLOPs of an evaluation; a multiply-add counts two, element-wise "
        "work none."
    )
    return "\n".join([*lines, "", note])


def _count(number: float) -> str:
    """Returns "10.5 k" or "24"."""
    return engineering(number).strip()


def _mega(flops: float) -> str:
    return f"{flops / 1e6:,.3f}"


def architecture_figure(content: dict[str, Any], path: pathlib.Path) -> None:
    """Writes the figure as `path`, a .png, and as .svg beside it."""
    with _drawn(content) as figure:
        save(figure, path)
        save(figure, path.with_suffix(".svg"))


def architecture_svg(content: dict[str, Any]) -> str:
    """Returns the figure for the page; a screen reader says its stages and their sum."""
    titles = ", ".join(shown_name(stage["title"], _LONGEST) for stage in content["stages"])
    name = shown_name(content["config"], _LONGEST)
    with _drawn(content) as figure:
        return inline_svg(figure, f"Architecture of {name}: {titles}; {_costs(content)}")


@contextlib.contextmanager
def _drawn(content: dict[str, Any]) -> Iterator[Any]:
    plt = pyplot()
    figure = plt.figure()
    try:
        _draw(figure, content)
        yield figure
    finally:
        plt.close(figure)


def _draw(figure: Any, content: dict[str, Any]) -> None:
    found = content["stages"]
    widths = [_WIDTHS.get(stage["kind"], _WIDTH) for stage in found]
    captions = [_caption(stage, width) for stage, width in zip(found, widths, strict=True)]
    footer = min(_end(*caption) for caption in captions) - 0.25
    bottom = footer - 0.15
    figure.set_size_inches(sum(widths) + 0.2, _TOP - bottom)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-0.1, sum(widths) + 0.1), ylim=(bottom, _TOP))
    axis.set_axis_off()
    largest = max((max(stage["output"][-3:-1]) for stage in found if _is_map(stage)), default=1)
    left = edge = 0.0
    for index, (stage, width) in enumerate(zip(found, widths, strict=True)):
        middle = left + width / 2
        half = _draw_of(stage)(axis, middle, stage, largest)
        _write(axis, middle, *captions[index])
        if index:
            _arrow(axis, edge, middle - half)
        edge, left = middle + half, left + width
    total = fitted_name(content["config"], 72 * sum(widths), 9, f": {_costs(content)}")
    axis.text(sum(widths) / 2, footer, total, ha="center", fontsize=9, color=GRAY)


def _costs(content: dict[str, Any]) -> str:
    flops = engineering(content["flops"])
    return f"{_count(content['parameters'])} parameters, {flops}FLOP an example"


def _is_map(stage: dict[str, Any]) -> bool:
    return stage["kind"] in ("input", "map", "block", "cut") and len(stage["output"]) > 2


def _draw_of(stage: dict[str, Any]) -> Callable[[Any, float, dict[str, Any], int], float]:
    """Returns what draws the stage around a place and returns half of its width."""
    if stage["kind"] == "recurrence":
        return _draw_steps
    return _draw_map if _is_map(stage) else _draw_vector


def _draw_map(axis: Any, middle: float, stage: dict[str, Any], largest: int) -> float:
    """Draws sheets one behind the other: the more, the more channels; a cut shows its frames."""
    from matplotlib.patches import Rectangle

    *frames, height, width, channels = stage["output"]
    count = min(frames[0], 8) if frames else min(10, 1 + round(math.log2(channels)))
    # Areas by logarithm: 2 x 2 beside 224 x 224 can still be seen.
    scale = _HEIGHT * (0.22 + 0.78 * math.log2(1 + max(height, width)) / math.log2(1 + largest))
    tall, wide = (scale * size / max(height, width) for size in (height, width))
    tall, wide = max(tall, 0.08), max(wide, 0.08)
    shift = min(0.05, 0.28 / count)
    reach = shift * (count - 1)
    for sheet in reversed(range(count)):
        x = middle - (wide + reach) / 2 + sheet * shift
        y = _MIDDLE - (tall + reach) / 2 + sheet * shift
        axis.add_patch(
            Rectangle((x, y), wide, tall, facecolor=_FILLS[stage["kind"]], edgecolor=_EDGE,
                      linewidth=0.7)
        )  # fmt: skip
    return (wide + reach) / 2 + 0.04


def _draw_steps(axis: Any, middle: float, stage: dict[str, Any], largest: int) -> float:
    """Draws the recurrence unrolled: inputs x below, states h above, from step to step."""
    del largest
    from matplotlib.patches import Circle, Rectangle

    steps = stage["steps"]
    named = [str(step) for step in range(1, min(steps, _SHOWN_STEPS) + 1)]
    if steps > _SHOWN_STEPS:
        named = [*named[:-2], "", str(steps)]
    pitch = 0.43
    first = middle - pitch * (len(named) - 1) / 2
    between = "<|-|>" if "both ways" in stage["notes"] else "-|>"
    for place, name in enumerate(named):
        x = first + place * pitch
        if place:
            _arrow(axis, x - pitch + 0.16, x - 0.16, y=0.3, size=6, style=between)
        if not name:
            axis.text(x, 0.3, "…", ha="center", va="center", fontsize=11)
            axis.text(x, -0.42, "…", ha="center", va="center", fontsize=11)
            continue
        axis.add_patch(Circle((x, 0.3), 0.155, facecolor=_FILLS["recurrence"], edgecolor=_EDGE,
                              linewidth=0.8))  # fmt: skip
        axis.add_patch(Rectangle((x - 0.12, -0.62), 0.24, 0.4, facecolor=_FILLS["map"],
                                 edgecolor=_EDGE, linewidth=0.7))  # fmt: skip
        axis.annotate("", (x, 0.14), (x, -0.22), arrowprops={"arrowstyle": "-|>", "lw": 0.7,
                      "color": _EDGE, "mutation_scale": 6, "shrinkA": 0, "shrinkB": 0})  # fmt: skip
        size = 6.5 if len(name) < 3 else 5
        axis.text(x, 0.3, f"h{_below(name)}", ha="center", va="center", fontsize=size + 0.5)
        axis.text(x, -0.42, f"x{_below(name)}", ha="center", va="center", fontsize=size)
    return pitch * (len(named) - 1) / 2 + 0.17


def _below(digits: str) -> str:
    return digits.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _draw_vector(axis: Any, middle: float, stage: dict[str, Any], largest: int) -> float:
    """Draws a column of cells; a head has a circle a class, at most seven."""
    del largest
    from matplotlib.patches import Circle, Rectangle

    fill = _FILLS[stage["kind"]]
    if stage["kind"] == "readout":
        axis.add_patch(Rectangle((middle - 0.09, -0.55), 0.18, 1.1, facecolor=fill,
                                 edgecolor=_EDGE, linewidth=0.8))  # fmt: skip
        for cell in range(1, 8):
            y = -0.55 + 1.1 * cell / 8
            axis.plot([middle - 0.09, middle + 0.09], [y, y], color=_EDGE, linewidth=0.5)
        return 0.13
    count = min(stage["output"][-1], 7)
    for place in range(count):
        y = 0.17 * (place - (count - 1) / 2)
        if count < stage["output"][-1] and place == 1:
            axis.text(middle, y, "⋮", ha="center", va="center", fontsize=9)
            continue
        axis.add_patch(Circle((middle, y), 0.07, facecolor=fill, edgecolor=_EDGE, linewidth=0.7))
    return 0.13


def _arrow(
    axis: Any, start: float, end: float, y: float = _MIDDLE, size: float = 9, style: str = "-|>"
) -> None:
    arrow = {"arrowstyle": style, "lw": 0.9, "color": _EDGE, "mutation_scale": size}
    axis.annotate("", (end, y), (start, y), arrowprops={**arrow, "shrinkA": 0, "shrinkB": 0})


def _caption(stage: dict[str, Any], width: float) -> tuple[list[str], list[str]]:
    """Returns the lines of a stage's title, and those of its size, notes and costs."""
    columns = int(width * 11.5)
    facts = [shape_text(stage["output"])]
    for note in stage["notes"]:
        facts += textwrap.wrap(shown_name(note, _LONGEST), columns)
    if stage["parameters"]:
        facts.append(f"{_count(stage['parameters'])} parameters")
    if stage["flops"]:
        facts.append(f"{engineering(stage['flops'])}FLOP")
    return textwrap.wrap(shown_name(stage["title"], _LONGEST), columns), facts


def _end(title: list[str], facts: list[str]) -> float:
    """Returns the height at which a caption ends."""
    return _CAPTION - _TITLE_LINE * len(title) - _LINE * len(facts)


def _write(axis: Any, middle: float, title: list[str], facts: list[str]) -> None:
    """Writes a caption below its stage."""
    y = _CAPTION
    for line in title:
        axis.text(middle, y, line, ha="center", va="top", fontsize=9, fontweight="bold")
        y -= _TITLE_LINE
    for line in facts:
        axis.text(middle, y, line, ha="center", va="top", fontsize=8, color=GRAY)
        y -= _LINE
