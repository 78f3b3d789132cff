"""The picture of explanations: a row for each image, with its maps and its steps."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.report.drawing import (
    COLOURS,
    GRAY,
    MARKERS,
    fitted_name,
    pyplot,
    save,
    shown_name,
    text_width,
)

_CELL = 1.25  # inches
_STEPS = 2.3  # width of the last column
_FACTS, _CLASSES = (1.3, 2.4), (0.65, 1.3)  # least and most room for names, left and right
_FACT_SIZE, _CLASS_SIZE = 8.5, 7  # points
_PREDICTED, _TRUE, _WRONG = COLOURS[0], COLOURS[1], COLOURS[1]
_RELEVANCE, _ATTENTION = "#D0D0D0", COLOURS[3]


class Row(NamedTuple):
    """One image of the picture.

    Attributes:
      image_HWC: uint8.
      maps: map_HW by the method's name, in the same order in every row.
      facts: about the prediction: "image", "class", "probability", "true" where it is known, and
        "steps" where the model has them: lists "class", "probability", "true_probability",
        "relevance" and "attention", the last two possibly None.
    """

    image_HWC: np.ndarray
    maps: dict[str, np.ndarray]
    facts: dict[str, Any]


def draw(path: pathlib.Path, rows: Sequence[Row], signed: Sequence[str], *, sideways: bool) -> None:
    """Writes the picture.

    Args:
      path: a .png.
      rows: at least one.
      signed: methods whose maps have signs.
      sideways: whether the recurrence reads from the left, not from the top.
    """
    plt = pyplot()
    methods, has_steps = list(rows[0].maps), "steps" in rows[0].facts
    said = [name + tail for row in rows for name, tail, _ in _facts(row.facts)]
    text = _room(said, _FACT_SIZE, *_FACTS)
    widths = [text, *[_CELL] * (1 + len(methods)), *[_STEPS] * has_steps]
    bottom = 0.9 if has_steps else 0.1
    names = [name for row in rows for name in row.facts["steps"]["class"]] if has_steps else []
    classes = _room(names, _CLASS_SIZE, *_CLASSES) * (has_steps and not sideways)
    gap = 0.3 if has_steps else 0.1
    size = sum(widths) * 1.06 + classes, len(rows) * (_CELL + gap) + 0.2 + bottom
    figure, axes = plt.subplots(
        len(rows), len(widths), figsize=size, squeeze=False, width_ratios=widths
    )
    figure.subplots_adjust(
        left=0.005, right=1 - (classes + 0.05 * has_steps) / size[0], top=1 - 0.3 / size[1],
        bottom=bottom / size[1], wspace=0.06, hspace=gap / _CELL,
    )  # fmt: skip
    for axis in axes[:, -1] if has_steps else ():  # room for the numbers of the steps
        place = axis.get_position()
        room = 0.38 / size[0]
        axis.set_position((place.x0 + room, place.y0, place.width - room, place.height))
    for row, line in zip(rows, axes, strict=True):
        for axis in line[: 2 + len(methods)]:
            axis.set_axis_off()
        _write_facts(line[0], row.facts)
        line[1].imshow(
            row.image_HWC[..., 0] if row.image_HWC.shape[-1] == 1 else row.image_HWC,
            cmap="gray",
            vmin=0,
            vmax=255,
        )
        for axis, (name, map_HW) in zip(line[2:], row.maps.items(), strict=False):
            _draw_map(axis, map_HW, name in signed)
        if has_steps:
            _draw_steps(line[-1], row.facts, sideways=sideways)
            if not sideways:
                _write_classes(line[-1], row.facts["steps"]["class"], 72 * classes)
    for axis, name in zip(axes[0, 1:], ["image", *methods], strict=False):
        axis.set_title(name, fontsize=9)
    if has_steps:
        axes[0, -1].set_title("after each step", fontsize=9)
        axes[-1, -1].set_xlabel("step" if sideways else "probability", fontsize=_CLASS_SIZE)
        _add_legend(figure, rows)
    save(figure, path)
    plt.close(figure)


def _room(names: Sequence[str], size: float, least: float, most: float) -> float:
    """Returns the inches that the longest of the names takes, as far as there are so many."""
    longest = max((text_width(shown_name(name, 80), size) for name in names), default=0.0)
    return min(max(longest / 72 + 0.12, least), most)


def _facts(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Returns lines: a name, what follows it in any case, and their colour."""
    sure = f" ({facts['probability']:.0%})"
    if "true" not in facts:
        return [(facts["image"], "", GRAY), (facts["class"], sure, "black")]
    if facts["true"] == facts["class"]:
        return [(facts["class"], sure, "black"), ("right", "", GRAY)]
    return [
        (facts["class"], sure, _PREDICTED),
        ("wrong, it is", "", "black"),
        (facts["true"], "", _TRUE),
    ]


def _write_facts(axis: Any, facts: dict[str, Any]) -> None:
    room = 72 * axis.get_window_extent().width / axis.figure.dpi
    lines = _facts(facts)
    for place, (name, tail, colour) in enumerate(lines):
        y = 0.5 + 0.13 * ((len(lines) - 1) / 2 - place)
        axis.text(0.02, y, fitted_name(name, 0.96 * room, _FACT_SIZE, tail), fontsize=_FACT_SIZE,
                  color=colour, va="center", transform=axis.transAxes)  # fmt: skip


def _draw_map(axis: Any, map_HW: np.ndarray, is_signed: bool) -> None:
    # A few pixels have by far the largest values; the 99th percentile shows the others too.
    limit = max(float(np.percentile(np.abs(map_HW), 99)), np.finfo(np.float32).tiny)
    if is_signed:
        axis.imshow(map_HW, cmap="RdBu_r", vmin=-limit, vmax=limit)
    else:
        axis.imshow(map_HW, cmap="inferno", vmin=0, vmax=limit)


def _draw_steps(axis: Any, facts: dict[str, Any], *, sideways: bool) -> None:
    """Draws the class's probability after each step as a line along the reading direction."""
    steps = facts["steps"]
    count = len(steps["class"])
    place = np.arange(count) + 0.5

    def line(values: Sequence[float], colour: str, marker: str) -> None:
        pair = (place, values) if sideways else (values, place)
        axis.plot(*pair, color=colour, marker=marker if count <= 16 else None, markersize=4,
                  linewidth=1.4, clip_on=False)  # fmt: skip

    def bars(values: Sequence[float], colour: str, width: float) -> None:
        draw_bars = axis.bar if sideways else axis.barh
        draw_bars(place, np.asarray(values) / max(*values, 1e-12), width, color=colour, zorder=0)

    bars(steps["relevance"], _RELEVANCE, 0.86)
    if steps["attention"] is not None:
        bars(steps["attention"], _ATTENTION, 0.3)
    line(steps["probability"], _PREDICTED, MARKERS[0])
    if "true" in facts and facts["true"] != facts["class"]:
        line(steps["true_probability"], _TRUE, MARKERS[1])
    numbers = np.unique(np.linspace(0, count - 1, min(count, 4)).round().astype(int))
    if sideways:
        axis.set(xlim=(0, count), ylim=(0, 1.02))
        axis.set_xticks(place[numbers], [str(n + 1) for n in numbers], fontsize=7)
        axis.set_yticks([0, 0.5, 1], ["0", ".5", "1"], fontsize=7)
        axis.set_ylabel("probability", fontsize=_CLASS_SIZE, labelpad=1)
    else:
        axis.set(xlim=(0, 1.02), ylim=(count, 0))
        axis.set_yticks(place[numbers], [str(n + 1) for n in numbers], fontsize=7)
        axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=7)
        axis.set_ylabel("step", fontsize=_CLASS_SIZE, labelpad=1)
    axis.tick_params(length=2, pad=2)
    axis.spines[["top", "right"]].set_visible(False)


def _write_classes(axis: Any, names: Sequence[str], room: float) -> None:
    """Writes the class on the right of the steps where it changes, as far as there is room."""
    previous, free = None, 0.0
    for step, name in enumerate(names):
        if name != previous and step + 0.5 >= free:
            axis.annotate(
                fitted_name(name, room, _CLASS_SIZE), (1, step + 0.5), xytext=(6, 0),
                xycoords=axis.get_yaxis_transform(), textcoords="offset points",
                fontsize=_CLASS_SIZE, va="center", annotation_clip=False,
            )  # fmt: skip
            free = step + 0.5 + len(names) / 9
            previous = name


def _add_legend(figure: Any, rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    facts = [row.facts for row in rows]
    handles: list[Any] = [
        Line2D([], [], color=_PREDICTED, marker=MARKERS[0], markersize=4),
        Patch(color=_RELEVANCE),
    ]
    names = ["probability of the final class", "gradient of the step's input, largest = 1"]
    if any(item.get("true", item["class"]) != item["class"] for item in facts):
        handles.insert(1, Line2D([], [], color=_TRUE, marker=MARKERS[1], markersize=4))
        names.insert(1, "of the true class")
    if facts[0]["steps"]["attention"] is not None:
        handles.append(Patch(color=_ATTENTION))
        names.append("attention, largest = 1")
    figure.legend(handles, names, loc="lower right", ncols=2, frameon=False, fontsize=8)
