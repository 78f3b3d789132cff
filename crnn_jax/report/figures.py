"""Figures of the studies' result files, by the study's name."""

import pathlib
import statistics
from collections.abc import Callable
from typing import Any

from crnn_jax.report.anytime import anytime_figure
from crnn_jax.report.architecture import architecture_figure
from crnn_jax.report.drawing import pyplot, save
from crnn_jax.report.robustness import robustness_figure

_OURS, _PAPER = "#1f5fa8", "#c8501e"
_DATASETS = {"cifar10": "CIFAR-10", "imagenet": "ImageNet"}
# Points of accuracy that a heat map's colours span at least: small differences should look small.
_LEAST_RANGE = 5.0
_NAMES = {
    "cnn": "CNN",
    "rnn": "RNN",
    "rnn_deep": "RNN, deep",
    "lrcn": "LRCN",
    "tsn": "TSN",
    "crnn": "CRNN",
}


def _accuracy_line(axis: Any, height: int, row: dict[str, Any]) -> None:
    """Draws one row of Table 1: the paper's number, ours, and both as text."""
    ours = 100 * row["accuracy_mean"]
    paper = None if row["paper"] is None else 100 * row["paper"]
    interval = None if row["ci95"] is None else 100 * row["ci95"]
    right = paper is None or ours >= paper  # ours is written on its far side of the paper's number

    def write(text: str, value: float, color: str, on_the_right: bool) -> None:
        axis.annotate(
            text, (value, height), xytext=(9 if on_the_right else -9, 0), va="center",
            textcoords="offset points", ha="left" if on_the_right else "right",
            fontsize=8.5, color=color,
        )  # fmt: skip

    if paper is not None:
        axis.plot([ours, paper], [height] * 2, color="#d9d9d9", linewidth=2, zorder=1)
        axis.plot(paper, height, "D", color="none", markeredgecolor=_PAPER, markeredgewidth=1.6,
                  zorder=4, label="paper")  # fmt: skip
        write(f"{paper:.1f}", paper, _PAPER, not right)
    label = "ours" if interval is None else "ours, with the 95% interval of the mean"
    axis.errorbar(ours, height, xerr=interval, fmt="o", color=_OURS, capsize=3.5, zorder=3,
                  label=label)  # fmt: skip
    edge = ours + (interval or 0.0) * (1 if right else -1)
    spread = "" if interval is None else f" ± {interval:.2f}"
    write(f"{ours:.2f}{spread}  n={row['n']}", edge, _OURS, right)


def table1_figure(content: dict[str, Any], path: pathlib.Path) -> None:
    """Writes a picture of each row's accuracy, the paper's and ours with its 95% interval."""
    plt = pyplot()
    rows = list(reversed(content["rows"]))
    figure, axis = plt.subplots(figsize=(7.5, 1.3 + 0.52 * len(rows)), layout="constrained")
    for height, row in enumerate(rows):
        _accuracy_line(axis, height, row)
    axis.set_yticks(range(len(rows)), [_NAMES[row["row"]] for row in rows])
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.margins(x=0.3)  # room for the text
    low, high = axis.get_xlim()
    axis.set_xticks([tick for tick in axis.get_xticks() if low <= tick <= min(high, 100)])
    axis.set_xlim(low, high)
    axis.set_xlabel("test accuracy, %")
    dataset = _DATASETS.get(content["dataset"], content["dataset"])
    axis.set_title(f"Table 1, {dataset}, budget {content['budget']}", fontsize=11)
    axis.grid(axis="x", color="#eeeeee")
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    by_label = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(
        by_label.values(), by_label.keys(), loc="outside lower center", ncols=3, frameon=False,
        fontsize=8.5,
    )  # fmt: skip
    save(figure, path)
    plt.close(figure)


def sensitivity_figure(content: dict[str, Any], path: pathlib.Path) -> None:
    """Writes a heat map of test accuracy, the number in each cell."""
    plt = pyplot()
    layers, units = content["layers"], content["units"]
    points = {(row["num_conv_layers"], row["hidden_units"]): row for row in content["rows"]}
    values = [
        [100 * points[at]["accuracy_mean"] if (at := (y, x)) in points else float("nan")
         for x in units]
        for y in layers
    ]  # fmt: skip
    size = (2.6 + 1.25 * len(units), 1.7 + 0.8 * len(layers))
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    known = [100 * row["accuracy_mean"] for row in content["rows"]]
    middle = (min(known) + max(known)) / 2
    half = max(max(known) - min(known), _LEAST_RANGE) / 2
    image = axis.imshow(
        values, cmap="viridis", origin="lower", aspect="auto", vmin=middle - half,
        vmax=middle + half,
    )  # fmt: skip
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            row = points.get((layers[y], units[x]))
            if row is None:
                continue
            interval = "" if row["ci95"] is None else f"\n± {100 * row['ci95']:.2f}"
            dark = value < middle
            axis.text(x, y, f"{value:.2f}{interval}", ha="center", va="center", fontsize=10,
                      color="white" if dark else "black")  # fmt: skip
    axis.set_xticks(range(len(units)), [str(value) for value in units])
    axis.set_yticks(range(len(layers)), [str(value) for value in layers])
    axis.set_xlabel("hidden units")
    axis.set_ylabel("convolutional layers")
    dataset = _DATASETS.get(content["dataset"], content["dataset"])
    axis.set_title(f"CRNN, {dataset}, {content['duration']} a point", fontsize=11)
    axis.set_xticks([x - 0.5 for x in range(1, len(units))], minor=True)
    axis.set_yticks([y - 0.5 for y in range(1, len(layers))], minor=True)
    axis.grid(which="minor", color="white", linewidth=2)
    axis.tick_params(which="both", length=0)
    axis.spines[:].set_visible(False)
    figure.colorbar(image, ax=axis, label="test accuracy, %").outline.set_visible(False)
    save(figure, path)
    plt.close(figure)


# Colours that people with any colour vision tell apart (Okabe and Ito 2008), and a marker each.
_STYLES = {
    "cnn": ("#0072B2", "o"),
    "rnn": ("#56B4E9", "v"),
    "rnn_deep": ("#E69F00", "^"),
    "lrcn": ("#009E73", "s"),
    "tsn": ("#CC79A7", "D"),
    "crnn": ("#D55E00", "X"),
}


def efficiency_figure(content: dict[str, Any], path: pathlib.Path) -> None:
    """Writes accuracy against training FLOPs and against seconds, a curve a row."""
    plt = pyplot()
    from matplotlib import ticker

    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.4), sharey=True, layout="constrained")
    names = dict.fromkeys(row["row"] for row in content["rows"])
    costs = {"training_flops": "training FLOPs", "train_seconds": "seconds in training steps"}
    for axis, (cost, label) in zip(axes, costs.items(), strict=True):
        for name in names:
            rows = [row for row in content["rows"] if row["row"] == name]
            x = [statistics.median(c if isinstance(c := row[cost], list) else [c]) for row in rows]
            y = [100 * row["accuracy_mean"] for row in rows]
            spread = [100 * (row["ci95"] or 0.0) for row in rows]
            color, marker = _STYLES[name]
            axis.errorbar(x, y, yerr=spread if any(spread) else None, color=color, marker=marker,
                          capsize=3, label=_NAMES[name])  # fmt: skip
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}" if x < 1e5 else f"{x:.0e}")
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.set_xlabel(label)
        axis.grid(color="#eeeeee")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("test accuracy, %")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(names), frameon=False)
    dataset = _DATASETS.get(content["dataset"], content["dataset"])
    spread = ", with 95% intervals of the mean" if any(r["ci95"] for r in content["rows"]) else ""
    title = f"{dataset}, budget {content['budget']}: a point is a size of the model{spread}"
    figure.suptitle(title, fontsize=11)
    save(figure, path)
    plt.close(figure)


FIGURES: dict[str, Callable[[dict[str, Any], pathlib.Path], None]] = {
    "table1": table1_figure,
    "sensitivity": sensitivity_figure,
    "efficiency": efficiency_figure,
    "architecture": architecture_figure,
    "anytime": anytime_figure,
    "robustness": robustness_figure,
}
