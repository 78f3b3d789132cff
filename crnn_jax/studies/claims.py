"""The paper's claims held against our numbers, in sentences that follow from the numbers alone."""

import itertools
import statistics
from typing import Any

from crnn_jax.studies.runs import Result, paired_difference

# Table 1 of the paper, accuracy in 0..1; the deep RNN stands beside the paper's only RNN row.
PAPER: dict[str, dict[str, float]] = {
    "cifar10": {
        "cnn": 0.872, "rnn": 0.768, "rnn_deep": 0.768, "lrcn": 0.892, "tsn": 0.901, "crnn": 0.915,
    },
    "imagenet": {
        "cnn": 0.684, "rnn": 0.542, "rnn_deep": 0.542, "lrcn": 0.703, "tsn": 0.718, "crnn": 0.732,
    },
}  # fmt: skip
ORDER = ("rnn", "cnn", "lrcn", "tsn", "crnn")  # the paper's, on both sets, from the lowest
# Largest spread of accuracy over a grid that is called stable; set before any grid was trained.
STABLE = 0.02


def points(difference: dict[str, Any]) -> str:
    """Returns "1.23 ± 0.40 points" of a paired difference's size."""
    interval = difference["ci95"]
    spread = "" if interval is None else f" ± {100 * interval:.2f}"
    return f"{100 * abs(difference['mean']):.2f}{spread} points"


def signed_points(difference: dict[str, Any]) -> str:
    """Returns "+1.23 ± 0.40 points" of a paired difference."""
    return f"{'-' if difference['mean'] < 0 else '+'}{points(difference)}"


def ordering(found: dict[str, list[Result]]) -> str:
    """Returns whether the paper's ordering of its five rows holds in ours.

    It holds if, of every two rows, the one that the paper has higher is higher in the mean of the
    differences over common seeds.
    """
    rows = [row for row in ORDER if row in found]
    if len(rows) < 2:
        return "The paper's ordering cannot be judged from fewer than two of its rows."
    means = {
        row: statistics.mean(r["test"]["accuracy"] for r in found[row]) for row in rows
    }  # fmt: skip
    against, unclear = [], []
    for low, high in itertools.combinations(rows, 2):
        difference = paired_difference(found[high], found[low])
        if difference is None:
            continue
        if difference["mean"] <= 0:
            against.append(f"{name_of(low)} over {name_of(high)} by {points(difference)}")
        if difference["ci95"] is not None and abs(difference["mean"]) <= difference["ci95"]:
            unclear.append(f"{name_of(low)} and {name_of(high)}")
    paper = " < ".join(name_of(row) for row in rows)
    ours = " < ".join(
        f"{name_of(row)} {100 * means[row]:.2f}" for row in sorted(rows, key=lambda row: means[row])
    )
    whole = "" if len(rows) == len(ORDER) else ", as far as its rows are here,"
    verdict = "does not hold" if against else "holds"
    text = f"The paper's ordering{whole} ({paper}) {verdict}: ours is {ours}."
    if against:
        text += f" Against it: {'; '.join(against)}."
    if unclear:
        text += f" Not told apart, the 95% interval has both signs: {'; '.join(unclear)}."
    if min(len(found[row]) for row in rows) == 1:
        text += " A row with one seed (n=1) has no interval: small differences may be chance."
    return text


def efficiency(rows: list[dict[str, Any]]) -> str:
    """Returns whether the CRNN is the efficient model that the paper claims, by our measurements.

    Args:
      rows: those of a result file, with row, flops_per_image, images_per_second and hardware.
    """
    by_row = {row["row"]: row for row in rows}
    if "crnn" not in by_row or len(rows) < 2:
        return "The claim of efficiency cannot be judged without the CRNN and another row."
    crnn = by_row.pop("crnn")
    holds, fails = [], []
    same_hardware = all(row["hardware"] == crnn["hardware"] for row in by_row.values())
    for name, row in by_row.items():
        flops = crnn["flops_per_image"] / row["flops_per_image"]
        rate = statistics.median(crnn["images_per_second"])
        rate /= statistics.median(row["images_per_second"])
        text = f"{name_of(name)} ({flops:.2f} times its FLOPs"
        text += f", {rate:.2f} times its images/s)" if same_hardware else ")"
        (holds if flops <= 1 and (rate >= 1 or not same_hardware) else fails).append(text)
    what = "no more FLOPs an image" + (" and no fewer images/s" if same_hardware else "")
    verdict = "holds" if not fails else "holds in part" if holds else "does not hold"
    text = f"The paper's claim of efficiency, read as {what} in training than the other rows, "
    text += verdict
    text += f": against {', '.join(holds)}" if holds else ""
    if fails:
        text += f"{'; ' if holds else ': '}not against {', '.join(fails)}"
    if not same_hardware:
        text += ". Images/s are left out: the rows were trained on different hardware"
    return f"{text}."


def stability(rows: list[dict[str, Any]]) -> str:
    """Returns whether test accuracy stays stable over a grid of layers and hidden units (Fig. 2).

    Args:
      rows: the grid's points, with num_conv_layers, hidden_units and accuracy_mean.
    """
    if len(rows) < 2:
        return "The paper's claim that accuracy stays stable cannot be judged from one point."
    low = min(rows, key=lambda row: row["accuracy_mean"])
    high = max(rows, key=lambda row: row["accuracy_mean"])
    spread = high["accuracy_mean"] - low["accuracy_mean"]
    verdict = "holds" if spread <= STABLE else "does not hold"
    axes = [
        f"{100 * _spread_of_means(rows, key):.2f} points between the means of {name}"
        for key, name in (("num_conv_layers", "layers"), ("hidden_units", "units"))
    ]
    return (
        f"The paper's claim that accuracy stays stable, read as at most {100 * STABLE:.0f} points "
        f"between any two settings, {verdict}: from {_setting(low)} to {_setting(high)}, "
        f"{100 * spread:.2f} points; {', '.join(axes)}."
    )


def _spread_of_means(rows: list[dict[str, Any]], key: str) -> float:
    groups: dict[int, list[float]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row["accuracy_mean"])
    means = [statistics.mean(group) for group in groups.values()]
    return max(means) - min(means)


def _setting(row: dict[str, Any]) -> str:
    accuracy = 100 * row["accuracy_mean"]
    return f"{accuracy:.2f}% ({row['num_conv_layers']} layers, {row['hidden_units']} units)"


def name_of(row: str) -> str:
    """Returns "RNN deep" of "rnn_deep"."""
    return row.replace("_", " ").upper().replace("DEEP", "deep")
