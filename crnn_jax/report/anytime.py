"""Accuracy after each step of a sequence, and what an early exit saves: table and figure."""

import pathlib
from typing import Any

from crnn_jax.report.drawing import COLOURS, GRAY, MARKERS, engineering, pyplot, save
from crnn_jax.report.formats import measured_on

_NEAR = 8  # points: the size of a marker and a little more
_PLACES = ((0, 5), (0, -5), (5, 5), (-5, -5))  # a number beside its point, in points


def _saved(content: dict[str, Any], row: dict[str, Any]) -> float:
    """Returns the percentage of the model's FLOPs that is not spent; below 0 if more are."""
    return 100 * (1 - row["flops_per_image"] / content["flops_per_image"])


def anytime_table(content: dict[str, Any]) -> str:
    """Returns a line for each step and for each threshold of an early exit."""
    header = ["reading", "accuracy", "steps read", "FLOPs saved"]
    lines = [header, ["---"] * len(header)]
    for row in content["after"]:
        lines.append([f"{row['step']} of {content['steps']} steps", *_cells(content, row)])
    for row in content["exits"]:
        lines.append([f"until {row['threshold']:g} sure", *_cells(content, row)])
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    count = content["after"][0]["num_examples"]
    note = (
        f"{content['run']}, {content['split']} split, {count:,} examples; the model's own "
        f"{engineering(content['flops_per_image'])}FLOP an example are 0% saved. A trunk over the "
        "whole image is counted in full, and the head after each step that is read. "
        f"{measured_on(content)}."
    )
    return f"{table}\n\n{note}"


def _cells(content: dict[str, Any], row: dict[str, Any]) -> list[str]:
    steps = row.get("mean_steps", row.get("step"))
    return [
        f"{100 * row['accuracy']:.2f}%",
        f"{steps:.3g}",
        f"{_saved(content, row):+.1f}%",
    ]


def anytime_figure(content: dict[str, Any], path: pathlib.Path) -> None:
    """Writes accuracy against the steps read, and against the FLOPs that an early exit saves."""
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.5), layout="constrained")
    full = 100 * content["after"][-1]["accuracy"]
    steps = [row["step"] for row in content["after"]]
    left.plot(steps, [100 * row["accuracy"] for row in content["after"]], color=COLOURS[0],
              marker=MARKERS[0] if len(steps) <= 32 else None)  # fmt: skip
    left.set_xlabel(f"steps read, of {content['steps']}")
    left.set_ylabel(f"{content['split']} accuracy, %")
    left.xaxis.get_major_locator().set_params(integer=True)
    left.set_title("every sequence ends after this step", fontsize=10)
    exits = content["exits"]
    saved = [_saved(content, row) for row in exits]
    accuracy = [100 * row["accuracy"] for row in exits]
    right.plot(saved, accuracy, color=COLOURS[1])
    right.axhline(full, color=GRAY, linewidth=1, linestyle="--", zorder=0, label="all steps read")
    right.axvspan(0, 0, color=GRAY, linewidth=0.6, zorder=0)  # no line: numbers may cover it
    right.set_xlabel("FLOPs saved by leaving early, %")
    right.set_title("a sequence ends at the probability written", fontsize=10)
    right.margins(x=0.14)
    right.legend(loc="lower left", frameon=False, fontsize=8.5)
    for axis, shown in ((left, [100 * row["accuracy"] for row in content["after"]]),
                        (right, [full, *accuracy])):  # fmt: skip
        room = max(0.14 * (max(shown) - min(shown)), 1.0)  # small differences look small
        axis.set_ylim(min(shown) - room, min(max(shown) + room, 100.4))
        axis.grid(color="#eeeeee")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    _write_thresholds(right, saved, accuracy, [row["threshold"] for row in exits])
    save(figure, path)
    plt.close(figure)


def _write_thresholds(axis: Any, x: list[float], y: list[float], thresholds: list[float]) -> None:
    """Draws the points with their thresholds, points that would cover each other as one.

    A number that finds no place beside its point without a line or another number is left out.
    """
    axis.figure.canvas.draw()  # so that places on the page are known
    near = _NEAR * axis.figure.dpi / 72
    groups: list[list[int]] = []
    places = axis.transData.transform(list(zip(x, y, strict=True)))
    for index, (across, up) in enumerate(places):
        first = places[groups[-1][0]] if groups else None
        if first is not None and max(abs(across - first[0]), abs(up - first[1])) < near:
            groups[-1].append(index)
        else:
            groups.append([index])
    firsts = [group[0] for group in groups]
    axis.plot([x[k] for k in firsts], [y[k] for k in firsts], MARKERS[1], color=COLOURS[1])
    taken: list[Any] = []
    for group in (groups[0], *groups[:0:-1]):  # the ends first
        ends = dict.fromkeys(f"{thresholds[k]:g}" for k in (group[0], group[-1]))
        box = _write_beside(axis, (x[group[0]], y[group[0]]), "–".join(ends), taken)
        taken += [box] * (box is not None)


def _write_beside(axis: Any, point: tuple[float, float], text: str, taken: list[Any]) -> Any:
    """Returns the box of a text where it lies beside a point on nothing else; None for nowhere."""
    for right, up in _PLACES:
        written = axis.annotate(
            text, point, xytext=(right, up), textcoords="offset points", fontsize=8,
            ha={-5: "right", 0: "center", 5: "left"}[right], va="bottom" if up > 0 else "top",
        )  # fmt: skip
        box = written.get_window_extent().padded(1)
        lines = [line.get_transform().transform_path(line.get_path()) for line in axis.lines]
        crossed = any(line.intersects_bbox(box, filled=False) for line in lines)
        if not crossed and not box.count_overlaps(taken):
            return box
        written.remove()
    return None
