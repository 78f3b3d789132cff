"""Pictures of an evaluation's report.json: confusion matrix, reliability diagram, mistakes."""

import pathlib
from typing import Any

from crnn_jax.report.drawing import COLOURS, GRAY, fitted_name, pyplot, save

_NUMBERED = 20  # classes up to which a cell has its number
_COLUMNS = 6  # mistakes side by side
_WIDTH = 1.6  # inches, one of them
_ENTRY = 1.2  # inches, a name of a legend with its colour
_SIZE = 8  # points, names
_ROOM = 90  # points, for the name of a class beside the matrix


def draw_figures(facts: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes the pictures that the facts have numbers for into the report's folder."""
    if facts.get("confusion"):
        confusion_figure(facts, folder / "confusion.png")
    if "calibration" in facts:
        reliability_figure(facts["calibration"], folder / "reliability.png")
    if facts["mistakes"]:
        mistakes_figure(facts, folder / "mistakes.png")


def confusion_figure(facts: dict[str, Any], path: pathlib.Path) -> None:
    """Writes the confusion matrix; the colour of a cell is its share of its row."""
    plt = pyplot()
    counts, names = facts["confusion"], facts["class_names"]
    shares = [[n / max(1, sum(row)) for n in row] for row in counts]
    size = min(12.0, 3.0 + 0.42 * len(names))
    figure, axis = plt.subplots(figsize=(size + 0.8, size), layout="constrained")
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= _NUMBERED:
        largest = max(max(row) for row in counts)
        for y, row in enumerate(counts):
            for x, count in enumerate(row):
                # Pixels are counted by the million: those cells have shares.
                text = f"{count}" if largest < 10_000 else f"{100 * shares[y][x]:.0f}%"
                if count:
                    axis.text(x, y, text, ha="center", va="center", fontsize=8,
                              color="white" if shares[y][x] > 0.5 else "black")  # fmt: skip
    every = max(1, -(-len(names) // 40))
    ticks = range(0, len(names), every)
    shown = [fitted_name(names[k], _ROOM, _SIZE) for k in ticks]
    axis.set_xticks(ticks, shown, rotation=90, fontsize=_SIZE)
    axis.set_yticks(ticks, shown, fontsize=_SIZE)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    bar = figure.colorbar(image, ax=axis, shrink=0.8, label="share of the true class")
    bar.outline.set_visible(False)
    save(figure, path)
    plt.close(figure)


def reliability_figure(calibration: dict[str, Any], path: pathlib.Path) -> None:
    """Writes accuracy against confidence, a bar a bin, and how many examples each bin has."""
    plt = pyplot()
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(4.6, 5.8), sharex=True, height_ratios=(4, 1), layout="constrained"
    )
    bins = calibration["bins"]
    width = bins[0]["high"] - bins[0]["low"]
    filled = [b for b in bins if b["count"]]
    middle = [(b["low"] + b["high"]) / 2 for b in filled]
    top.bar(middle, [b["accuracy"] for b in filled], 0.92 * width, color="#D6E9F6")
    top.plot([0, 1], [0, 1], "--", color=GRAY, linewidth=1, label="calibrated")
    _points(top, calibration, COLOURS[0], "o", f"as it is, ECE {calibration['ece']:.4f}")
    if fitted := calibration["temperature"]:
        text = f"temperature {fitted['temperature']:.3g}, ECE {fitted['ece']:.4f}"
        _points(top, fitted, COLOURS[1], "s", text)
    top.set(xlim=(0, 1), ylim=(0, 1.05), ylabel="accuracy in the bin")
    bottom.bar(middle, [b["count"] for b in filled], 0.92 * width, color=COLOURS[0])
    bottom.set(xlabel=f"probability of the predicted class, {len(bins)} bins", ylabel="examples")
    for axis in (top, bottom):
        axis.spines[["top", "right"]].set_visible(False)
    legend = figure.legend(fontsize=8, frameon=False, loc="outside lower center")
    for handle in legend.legend_handles:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([25.0])
    save(figure, path)
    plt.close(figure)


def _points(axis: Any, figures: dict[str, Any], colour: str, marker: str, text: str) -> None:
    """Draws a point a bin; its area grows with the bin's examples: a bin of one says little."""
    filled = [b for b in figures["bins"] if b["count"]]
    most = max(b["count"] for b in filled)
    axis.scatter([b["confidence"] for b in filled], [b["accuracy"] for b in filled],
                 [10 + 60 * b["count"] / most for b in filled], color=colour, marker=marker,
                 label=text, zorder=3, clip_on=False)  # fmt: skip


def mistakes_figure(facts: dict[str, Any], path: pathlib.Path) -> None:
    """Writes the worst examples, the worst first, with what was said of each."""
    from PIL import Image

    plt = pyplot()
    items = facts["mistakes"]
    most, width, height = (_COLUMNS, _WIDTH, 2.1) if "predicted" in items[0] else (2, 4.8, 1.9)
    columns, lines = min(most, len(items)), -(-len(items) // most)
    legend = facts.get("legend", [])  # of masks
    across = max(1, int(columns * width / _ENTRY))
    under = 0.2 * (1 + -(-len(legend) // across)) if legend else 0.0
    size = (columns * width, lines * height + under)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, item in zip(axes.flat, items, strict=False):
        with Image.open(path.parent / item["picture"]) as image:
            axis.imshow(image)
        axis.set_title(caption(item), fontsize=_SIZE)
    if legend:
        swatches = [
            plt.Rectangle((0, 0), 1, 1, facecolor=[c / 255 for c in e["rgb"]], edgecolor=GRAY)
            for e in legend
        ]
        names = [fitted_name(e["name"], 72 * _ENTRY - 3 * _SIZE, _SIZE) for e in legend]
        title = "left the image, then the prediction and the truth over it"
        figure.legend(swatches, names, ncols=across, fontsize=_SIZE, frameon=False, title=title,
                      title_fontsize=_SIZE, loc="outside lower center")  # fmt: skip
    save(figure, path, dpi=110)
    plt.close(figure)


def caption(item: dict[str, Any]) -> str:
    """Returns what is written over a mistake's picture."""
    if "predicted" not in item:
        return f"example {item['index']}: mean IoU {item['mean_iou']:.3f}"
    room = 0.95 * 72 * _WIDTH
    predicted = fitted_name(item["predicted"], room, _SIZE, f" {100 * item['probability']:.1f}%")
    true = fitted_name(f"is {item['true']}", room, _SIZE)
    return f"{predicted}\n{true}"
