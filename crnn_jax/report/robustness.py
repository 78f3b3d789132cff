"""Accuracy on images made worse, several runs beside each other: table and figure."""

import math
import pathlib
import re
from typing import Any

from crnn_jax.report.drawing import COLOURS, MARKERS, fitted_name, pyplot, save, shown_name
from crnn_jax.report.formats import measured_on

_COLUMNS = 3  # panels side by side
_WIDTH = 8.6  # inches
_ROOM = 72 * _WIDTH / _COLUMNS - 50  # points, for a name beside its line in the legend


def half_interval(accuracy: float, count: int) -> float:
    """Returns half the 95% interval of a share of `count` examples (Wilson 1927)."""
    z2 = 1.96**2
    inner = accuracy * (1 - accuracy) / count + z2 / (4 * count**2)
    return 1.96 * math.sqrt(inner) / (1 + z2 / count)


def accuracies(run: dict[str, Any], corruption: str) -> list[float]:
    """Returns the accuracies of the strengths 0 (clean) to 5."""
    rows = [row for row in run["rows"] if row["corruption"] in ("clean", corruption)]
    return [row["accuracy"] for row in sorted(rows, key=lambda row: row["strength"])]


def robustness_table(content: dict[str, Any]) -> str:
    """Returns a line for each corruption and run: accuracy at each strength and their mean."""
    header = ["corruption", "run", "clean", *"12345", "mean of 1 to 5"]
    lines = [header, ["---"] * len(header)]
    for name, facts in content["corruptions"].items():
        sizes = ", ".join(f"{size:.3g}" for size in facts["sizes"])
        for number, run in enumerate(content["runs"]):
            found = accuracies(run, name)
            mean = sum(found[1:]) / (len(found) - 1)
            what = f"{name}: {sizes} ({facts['unit']})" if number == 0 else ""
            cells = [f"{100 * value:.1f}" for value in (*found, mean)]
            lines.append([what, _in_markdown(run["run"]), *cells])
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    means = []
    for run in content["runs"]:
        worse = [row["accuracy"] for row in run["rows"] if row["strength"]]
        clean = run["rows"][0]["accuracy"]
        means.append(
            f"{_in_markdown(run['run'])} {100 * clean:.1f}% clean, "
            f"{100 * sum(worse) / len(worse):.1f}% in the mean over all corruptions"
        )
    first = content["runs"][0]["rows"][0]
    interval = max(
        half_interval(row["accuracy"], row["num_examples"])
        for run in content["runs"]
        for row in run["rows"]
    )
    note = (
        f"Test accuracy in percent of {first['num_examples']:,} images, no retraining; half a 95% "
        f"interval is at most {100 * interval:.1f} points. {'; '.join(means)}. "
        f"{measured_on(content)}."
    )
    return f"{table}\n\n{note}"


def _in_markdown(name: str) -> str:
    text = shown_name(name, 40).strip()
    return re.sub(r"([\\`*_|<>$\[\]])", r"\\\1", text)


def robustness_figure(content: dict[str, Any], path: pathlib.Path) -> None:
    """Writes a panel for each corruption: accuracy against strength, a line for each run."""
    plt = pyplot()
    names = list(content["corruptions"])
    lines = -(-len(names) // _COLUMNS)
    figure, axes = plt.subplots(
        lines, _COLUMNS, figsize=(_WIDTH, 2.55 * lines + 0.4), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    handles: list[Any] = []
    for axis, name in zip(axes.flat, names, strict=False):
        facts, handles = content["corruptions"][name], []
        for number, run in enumerate(content["runs"]):
            found = [100 * value for value in accuracies(run, name)]
            half = [100 * half_interval(row, run["rows"][0]["num_examples"]) for row in
                    accuracies(run, name)]  # fmt: skip
            colour = COLOURS[number % len(COLOURS)]
            handles += axis.plot(
                range(len(found)), found, color=colour, marker=MARKERS[number % len(MARKERS)],
                markersize=4.5, linewidth=1.5,
            )  # fmt: skip
            low, high = ([v + s * h for v, h in zip(found, half, strict=True)] for s in (-1, 1))
            axis.fill_between(range(len(found)), low, high, color=colour, alpha=0.13, linewidth=0)
        axis.set_title(name, fontsize=10)
        sizes = ["clean", *(f"{size:.3g}" for size in facts["sizes"])]
        axis.set_xticks(range(len(sizes)), sizes, fontsize=8)
        axis.set_xlabel(facts["unit"], fontsize=8.5)
        axis.tick_params(axis="y", labelsize=8)
        axis.grid(color="#eeeeee")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("test accuracy, %", fontsize=8.5)
    figure.legend(
        handles, [fitted_name(run["run"], _ROOM, 9) for run in content["runs"]],
        loc="outside lower center", ncols=_COLUMNS, frameon=False, fontsize=9,
    )  # fmt: skip
    save(figure, path)
    plt.close(figure)
