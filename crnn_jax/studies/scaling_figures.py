"""The pictures of a scaling study: speed-up, efficiency, roofline, and the projection."""

import math
import pathlib
from typing import Any

import numpy as np

from crnn_jax.report.drawing import (
    COLOURS,
    GRAY,
    MARKERS,
    fitted_name,
    label_decades,
    pyplot,
    save,
)
from crnn_jax.studies.hardware import CHIPS

_NOTE = "virtual devices of one machine: no statement about speed"
_STYLES = {
    name: {"color": colour, "marker": marker, "markersize": 5}
    for name, colour, marker in zip(CHIPS, COLOURS, MARKERS, strict=False)
}
_SIZE = 11  # points of a title


def draw(path: pathlib.Path, content: dict[str, Any]) -> list[pathlib.Path]:
    """Returns the pictures written beside the result file `path`, made of its `content`."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
    _draw_speedup(axes[0], content)
    _draw_efficiency(axes[1], content)
    _draw_roofline(axes[2], content)
    where = content["points"][0]["described"]
    note = f"{where}; {_NOTE}" if content["virtual"] else where
    what = f"{content['mode'].capitalize()} scaling of {content['config']}"
    figure.suptitle(f"{fitted_name(what, 900, _SIZE)}\n{note}", fontsize=_SIZE)
    pictures = [path.with_suffix(".png")]
    save(figure, pictures[0])
    plt.close(figure)
    if "projection" in content:
        projection = content["projection"]
        figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
        _draw_projection(figure, axes, projection)
        what = f"Projection of {content['config']}"
        note = f"global batch {projection['batch_size']:,}; a model, not a measurement"
        figure.suptitle(f"{fitted_name(what, 760, _SIZE)}\n{note}", fontsize=_SIZE)
        pictures.append(path.with_name(f"{path.stem}_projection.png"))
        save(figure, pictures[1])
        plt.close(figure)
    return pictures


def _draw_speedup(axes: Any, content: dict[str, Any]) -> None:
    devices = [point["devices"] for point in content["points"]]
    speedups = [point["speedup"] for point in content["points"]]
    axes.plot(devices, devices, "--", color=GRAY, label="ideal")
    axes.plot(devices, speedups, color=COLOURS[0], marker=MARKERS[0], label="measured")
    axes.set(xscale="log", yscale="log", xlabel="devices", ylabel="speed-up")
    _label_powers(axes.xaxis, devices)
    low, high = min(*speedups, 1), max(*speedups, *devices)
    powers = range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)
    _label_powers(axes.yaxis, [2.0**power for power in powers])
    _finish(axes, "speed-up against one device" if devices[0] == 1 else "speed-up", 2)


def _draw_efficiency(axes: Any, content: dict[str, Any]) -> None:
    points = content["points"]
    devices = [point["devices"] for point in points]
    axes.plot(devices, [100 * point["efficiency"] for point in points], color=COLOURS[0],
              marker=MARKERS[0], label="efficiency", clip_on=False)  # fmt: skip
    shares = [(p["devices"], p["collective_seconds"], p["seconds"]) for p in points]
    known = [(n, 100 * part / whole) for n, part, whole in shares if part is not None]
    if known:
        axes.plot(*zip(*known, strict=True), ":", color=COLOURS[1], marker=MARKERS[1],
                  label="collectives, of the step", clip_on=False)  # fmt: skip
    axes.axhline(100, linestyle="--", color=GRAY, zorder=0)
    axes.set(xscale="log", xlabel="devices", ylabel="%")
    axes.set_ylim(0, max(105.0, axes.get_ylim()[1]))
    _label_powers(axes.xaxis, devices)
    _finish(axes, "speed-up / devices, and communication", 2)


def _draw_roofline(axes: Any, content: dict[str, Any]) -> None:
    """Draws the chips' roofs, and how many operations the step does for each byte it moves."""
    for name, chip in CHIPS.items():
        intensity = np.array([1.0, chip.peak / chip.memory_bandwidth, 1e4])
        roof = np.minimum(chip.peak, intensity * chip.memory_bandwidth)
        axes.plot(intensity, roof, label=name, markevery=[1], **_STYLES[name])
    rate = max(point["matmul_flops"] for point in content["one_device"])
    axes.axhline(rate, linestyle=":", color="black", label="matmul here")
    axes.set(xscale="log", yscale="log", xlabel="FLOP / byte accessed", ylabel="FLOP/s")
    label_decades(axes.xaxis)
    label_decades(axes.yaxis)
    for number, point in enumerate(content["one_device"]):
        flops = 3 * point["flops_per_image"] * point["batch_size"]
        rate = flops / np.mean(point["step_seconds"])
        at = flops / point["bytes_accessed"]
        axes.plot(at, rate, "k.", label="step here, by batch" if number == 0 else None)
        # A batch and its double lie close beside each other: their numbers on two lines.
        axes.annotate(f"{point['batch_size']}", (at, rate), xytext=(0, -4 - 8 * (number % 2)),
                      textcoords="offset points", ha="center", va="top", fontsize=8)  # fmt: skip
    low, high = axes.dataLim.intervaly
    axes.set_ylim(low / 5, 2 * high)  # room for the numbers below the lowest point
    _finish(axes, "roofs of published chips, and one device here", 4)


def _draw_projection(figure: Any, axes: Any, projection: dict[str, Any]) -> None:
    for name, chip in projection["chips"].items():
        chips = [point["chips"] for point in chip["points"]]
        rates = [point["images_per_second"] for point in chip["points"]]
        busy = [100 * point["efficiency"] for point in chip["points"]]
        axes[0].plot(chips, rates, label=name, **_STYLES[name])
        axes[1].plot(chips, busy, **_STYLES[name])
    axes[0].set(xscale="log", yscale="log", xlabel="chips", ylabel="images/s")
    axes[1].set(xscale="log", xlabel="chips", ylabel="% of the step computing", ylim=(0, 102))
    label_decades(axes[0].yaxis)
    for each, title in zip(axes, ("training rate", "what communication leaves"), strict=True):
        _label_powers(each.xaxis, chips)
        _finish(each, title)
    figure.legend(loc="outside lower center", ncols=len(CHIPS), frameon=False)


def _label_powers(axis: Any, values: list[Any]) -> None:
    axis.set_ticks(values, [f"{value:g}" for value in values])
    axis.set_ticks([], minor=True)


def _finish(axes: Any, title: str, columns: int = 0) -> None:
    """Writes the title, and the legend below the axes, where it covers nothing."""
    axes.set_title(title, fontsize=10)
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if columns:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=columns,
                    frameon=False, fontsize=8, columnspacing=1.2)  # fmt: skip
