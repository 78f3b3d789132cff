"""The pictures of a scaling study: speed-up, efficiency, roofline, and the projection."""

import pathlib
from typing import Any

import numpy as np

from crnn_jax.studies.hardware import CHIPS

_NOTE = "virtual devices of one machine: no statement about speed"


def draw(path: pathlib.Path, content: dict[str, Any]) -> list[pathlib.Path]:
    """Returns the pictures written beside the result file `path`, made of its `content`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    _draw_speedup(axes[0], content)
    _draw_efficiency(axes[1], content)
    _draw_roofline(axes[2], content)
    note = f" ({_NOTE})" if content["virtual"] else ""
    figure.suptitle(f"{path.stem}: {content['mode']} scaling{note}", fontsize=10)
    pictures = [path.with_suffix(".png")]
    figure.savefig(pictures[0], dpi=110)
    plt.close(figure)
    if "projection" in content:
        figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
        _draw_projection(axes, content["projection"])
        figure.suptitle(
            f"{path.stem}: projection, batch {content['projection']['batch_size']:,}: "
            "a model, not a measurement",
            fontsize=10,
        )
        pictures.append(path.with_name(f"{path.stem}_projection.png"))
        figure.savefig(pictures[1], dpi=110)
        plt.close(figure)
    return pictures


def _draw_speedup(axes: Any, content: dict[str, Any]) -> None:
    devices = [point["devices"] for point in content["points"]]
    axes.plot(devices, devices, "--", color="gray", label="ideal")
    axes.plot(devices, [p["speedup"] for p in content["points"]], "o-", label="measured")
    axes.set(xscale="log", yscale="log", xlabel="devices", ylabel="speed-up")
    _label_powers(axes.xaxis, devices)
    _label_powers(axes.yaxis, devices)
    axes.legend()


def _draw_efficiency(axes: Any, content: dict[str, Any]) -> None:
    points = content["points"]
    devices = [point["devices"] for point in points]
    axes.plot(devices, [100 * point["efficiency"] for point in points], "o-", label="efficiency")
    shares = [(p["devices"], p["collective_seconds"], p["seconds"]) for p in points]
    known = [(n, 100 * part / whole) for n, part, whole in shares if part is not None]
    if known:
        axes.plot(*zip(*known, strict=True), "s:", label="of the step in collectives")
    axes.axhline(100, linestyle="--", color="gray")
    axes.set(xscale="log", xlabel="devices", ylabel="%", ylim=(0, None))
    _label_powers(axes.xaxis, devices)
    axes.legend()


def _draw_roofline(axes: Any, content: dict[str, Any]) -> None:
    """Draws the chips' roofs, and how many operations the step does for each byte it moves."""
    intensity = np.logspace(0, 4, 100)
    for name, chip in CHIPS.items():
        axes.plot(intensity, np.minimum(chip.peak, intensity * chip.memory_bandwidth), label=name)
    rate = max(point["matmul_flops"] for point in content["one_device"])
    axes.axhline(rate, linestyle=":", color="black", label="matmul here")
    for point in content["one_device"]:
        flops = 3 * point["flops_per_image"] * point["batch_size"]
        rate = flops / np.mean(point["step_seconds"])
        at = flops / point["bytes_accessed"]
        axes.plot(at, rate, "k.")
        axes.annotate(f"{point['batch_size']}", (at, rate), fontsize=7)
    axes.set(xscale="log", yscale="log", xlabel="FLOP / byte accessed", ylabel="FLOP/s")
    axes.set_title("dots: measured on one device, by batch", fontsize=8)
    axes.legend(fontsize=7)


def _draw_projection(axes: Any, projection: dict[str, Any]) -> None:
    for name, chip in projection["chips"].items():
        chips = [point["chips"] for point in chip["points"]]
        rates = [point["images_per_second"] for point in chip["points"]]
        busy = [100 * point["efficiency"] for point in chip["points"]]
        axes[0].plot(chips, rates, "o-", markersize=3, label=name)
        axes[1].plot(chips, busy, "o-", markersize=3, label=name)
    axes[0].set(xscale="log", yscale="log", xlabel="chips", ylabel="images/s")
    axes[1].set(xscale="log", xlabel="chips", ylabel="% of the step computing", ylim=(0, 102))
    for each in axes:
        _label_powers(each.xaxis, chips)
    axes[0].legend(fontsize=8)


def _label_powers(axis: Any, values: list[int]) -> None:
    axis.set_ticks(values, [str(value) for value in values])
    axis.set_ticks([], minor=True)
