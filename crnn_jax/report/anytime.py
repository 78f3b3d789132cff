"""Accuracy after each step of a sequence, and what an early exit saves: table and figure."""

import pathlib
from typing import Any

from crnn_jax.report.drawing import COLOURS, GRAY, MARKERS, engineering, pyplot, save
from crnn_jax.report.formats import measured_on


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
    left.set_title("every sequence cut after a step", fontsize=10)
    exits = content["exits"]
    saved = [_saved(content, row) for row in exits]
    accuracy = [100 * row["accuracy"] for row in exits]
    right.plot(saved, accuracy, color=COLOURS[1], marker=MARKERS[1])
    right.axhline(full, color=GRAY, linewidth=1, linestyle="--", zorder=0)
    right.axvline(0, color=GRAY, linewidth=0.6, zorder=0)
    right.set_xlabel("FLOPs saved by leaving early, %")
    right.set_title("each left once this sure (dashed: never)", fontsize=10)
    right.margins(x=0.14)
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
    """Writes the thresholds beside their points, but those that would cover another."""
    axis.figure.canvas.draw()  # so that places on the page are known
    taken: list[tuple[float, float]] = []
    order = [0, len(x) - 1, *range(1, len(x) - 1)]  # the ends first
    for index in order:
        across, up = axis.transData.transform((x[index], y[index]))
        if all(abs(across - a) > 40 or abs(up - b) > 14 for a, b in taken):
            axis.annotate(f"{thresholds[index]:g}", (x[index], y[index]), xytext=(5, 5),
                          textcoords="offset points", fontsize=8)  # fmt: skip
            taken.append((across, up))
