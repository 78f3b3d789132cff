"""Markdown tables of the studies' result files, by the study's name."""

import statistics
from collections.abc import Callable
from typing import Any

from crnn_jax.report.anytime import anytime_table
from crnn_jax.report.architecture import architecture_table
from crnn_jax.report.compute_tables import efficiency_table, recurrence_table
from crnn_jax.report.formats import (
    format_accuracy,
    format_commits,
    made_by,
    markdown,
    measured_on,
    percent,
    train_seconds,
    with_interval,
)
from crnn_jax.report.robustness import robustness_table
from crnn_jax.report.saliency import saliency_table


def table1_table(content: dict[str, Any]) -> str:
    """Returns Table 1: ours against the paper, what a run costs, and sentences on the claims."""
    minus = {pair["row"]: pair for pair in content["crnn_minus"]}
    header = [
        *"row|test accuracy|n|paper|difference|CRNN minus row|parameters|MFLOP/image".split("|"),
        *"epochs|training FLOPs|images/s|training|on|date, commit".split("|"),
    ]
    rows = []
    for row in content["rows"]:
        pair = minus.get(row["row"])
        difference = row["difference"]
        rows.append(
            [
                row["row"],
                format_accuracy(row),
                str(row["n"]),
                percent(row["paper"]),
                "-" if difference is None else f"{100 * difference:+.2f}",
                with_interval(pair["mean"], pair["ci95"], "+") if pair else "-",
                f"{row['parameters']:,}",
                f"{row['flops_per_image'] / 1e6:.1f}",
                f"{row['epochs']:.4g}",
                f"{row['training_flops']:.2e}",
                f"{statistics.median(row['images_per_second']):,.0f}",
                train_seconds(row),
                ", ".join([*row["hardware"], *row.get("precision", [])]),
                f"{', '.join(row['dates'])}, {format_commits(row)}",
            ]
        )
    measured = "Images/s and training time are those of these very runs, disturbed or not."
    if apart := content["rates"]:
        measured = (
            "Training time is that of these very runs, disturbed or not. Images/s were measured "
            f"apart, the rows taking turns: {measured_on(apart)}."
        )
    notes = [content["definition"], *content["sentences"], measured]
    return "\n".join([markdown(header, rows), "", *notes])


def table1_short(content: dict[str, Any]) -> str:
    """Returns Table 1 in five columns; `table1_table` has the rest."""
    rows = [
        [
            row["row"],
            f"{format_accuracy(row)} (n={row['n']})",
            percent(row["paper"]),
            f"{statistics.median(row['images_per_second']):,.0f}",
            train_seconds(row),
        ]
        for row in content["rows"]
    ]
    return markdown(["row", "ours", "the paper's", "images/s", "training"], rows)


def sensitivity_table(content: dict[str, Any]) -> str:
    """Returns the grid: a line for each number of layers, a column for each of hidden units."""
    points = {(row["num_conv_layers"], row["hidden_units"]): row for row in content["rows"]}
    header = ["conv layers", *(f"{units} units" for units in content["units"])]
    rows = []
    for layers in content["layers"]:
        cells = [points.get((layers, units)) for units in content["units"]]
        rows.append(
            [
                str(layers),
                *(
                    f"{format_accuracy(row)} ({100 * row['validation_accuracy_mean']:.2f})"
                    if row
                    else "-"
                    for row in cells
                ),
            ]
        )
    note = (
        f"Test accuracy, in brackets that on the held-out {content['validation']:.0%} of the "
        f"training split; {content['config']}, {content['duration']} a point, "
        f"n={_counts(content['rows'])}; {made_by(content['rows'])}."
    )
    return "\n".join([markdown(header, rows), "", note, *content["sentences"]])


def ablation_table(content: dict[str, Any]) -> str:
    """Returns one line a change, each on top of those above it."""
    rows = []
    for row in content["rows"]:
        keys = ", ".join(f"`{k}` {old} -> {new}" for k, (old, new) in row["keys"].items())
        gain = row["gain"]
        rows.append(
            [
                row["row"],
                keys or "-",
                format_accuracy(row),
                str(row["n"]),
                with_interval(gain["mean"], gain["ci95"], "+") if gain else "-",
                train_seconds(row),
            ]
        )
    header = ["change, on top of those above", "keys", "test accuracy", "n", "gain", "training"]
    made = made_by(content["rows"])
    note = f"{content['config']}, {content['duration']} a run; {made}."
    return "\n".join([markdown(header, rows), "", note, *content["sentences"]])


def variants_table(content: dict[str, Any]) -> str:
    """Returns one line a variant, each against the first, seed by seed."""
    score = content["rows"][0].get("score", "accuracy")
    rows = []
    for row in content["rows"]:
        pair = row["difference"]
        rows.append(
            [
                row["row"],
                ", ".join(f"`{key}={value}`" for key, value in row["keys"].items()) or "-",
                with_interval(row[f"{score}_mean"], row["ci95"], unit="%"),
                str(row["n"]),
                with_interval(pair["mean"], pair["ci95"], "+") if pair else "-",
                f"{row['parameters']:,}",
                train_seconds(row),
            ]
        )
    test = f"test {score.replace('_', ' ')}"
    header = ["variant", "keys", test, "n", "minus the first, by seed", "parameters"]
    made = made_by(content["rows"])
    note = f"{content['config']}, {content['duration']} a run; {made}."
    return "\n".join([markdown([*header, "training"], rows), "", note, *content["sentences"]])


def race_table(content: dict[str, Any]) -> str:
    """Returns the seconds of the runs, with and without compilation."""
    header = ["seconds of", "median", "quartiles", "lowest to highest"]
    rows = [
        [
            item["what"],
            f"{item['median']:.2f}",
            f"{item['quartiles'][0]:.2f} to {item['quartiles'][1]:.2f}",
            f"{item['lowest']:.2f} to {item['highest']:.2f}",
        ]
        for item in content["seconds"].values()
    ]
    (row,) = content["rows"]
    note = (
        f"{content['config']}, {row['epochs']:.4g} epochs; test accuracy {format_accuracy(row)}; "
        f"n={row['n']}; {row['devices']}, commit {format_commits(row)}."
    )
    return "\n".join([markdown(header, rows), "", *content["sentences"], note])


def cost_table(content: dict[str, Any]) -> str:
    """Returns the predicted hours and dollars of each recipe."""
    header = [
        *"model|hardware=|chips|batch|epochs|images/s|MFU|bound by|hours".split("|"),
        *"dollars a chip and hour|dollars".split("|"),
    ]
    rows = [
        [
            row["row"],
            f"`{row['hardware']}`",
            f"{row['chips']} x {row['chip']}",
            f"{row['batch_size']:,}",
            f"{row['epochs']:.0f}",
            f"{row['images_per_second']:,.0f}",
            percent(row["mfu"]),
            row["bound"],
            f"{row['hours']:.1f}",
            f"{row['price_per_chip_hour']:.2f}",
            f"{row['dollars']:,.0f}",
        ]
        for row in content["rows"]
    ]
    assumed = "\n".join(f"- {text}" for text in content["assumptions"])
    note = "Predictions: nothing was run on these chips, and the prices are assumed too. Assumed:"
    return "\n".join([markdown(header, rows), "", note, "", assumed])


def mean_iou_table(content: dict[str, Any]) -> str:
    """Returns one line a segmentation, and the IoU of each class."""
    header = [
        *"run|mean IoU|pixel accuracy|n|epochs|parameters|MFLOP/image|images/s|training".split("|"),
        *"on|date, commit".split("|"),
    ]
    rows = [
        [
            row["row"],
            with_interval(row["mean_iou_mean"], row["ci95"], unit="%"),
            percent(statistics.mean(found["pixel_accuracy"] for found in row["test"])),
            str(row["n"]),
            f"{row['epochs']:.4g}",
            f"{row['parameters']:,}",
            f"{row['flops_per_image'] / 1e6:.1f}",
            f"{statistics.median(row['images_per_second']):,.0f}",
            train_seconds(row),
            row["devices"],
            f"{content['date']}, {format_commits(row)}",
        ]
        for row in content["rows"]
    ]
    first = content["rows"][0]["test"][0]
    each = ", ".join(percent(value) for value in first["iou"])
    note = f"IoU of each class in its order, seed 0, {first['num_examples']} images: {each}."
    return "\n".join([markdown(header, rows), "", note])


def _counts(rows: list[dict[str, Any]]) -> str:
    low, high = min(row["n"] for row in rows), max(row["n"] for row in rows)
    return str(low) if low == high else f"{low} to {high}"


STUDY_TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "table1": table1_table,
    "sensitivity": sensitivity_table,
    "ablation": ablation_table,
    "variants": variants_table,
    "transfer": variants_table,
    "recurrence": recurrence_table,
    "efficiency": efficiency_table,
    "race": race_table,
    "cost": cost_table,
    "mean_iou": mean_iou_table,
    "architecture": architecture_table,
    "saliency": saliency_table,
    "anytime": anytime_table,
    "robustness": robustness_table,
}
# For the README.
SHORT_TABLES: dict[str, Callable[[dict[str, Any]], str]] = {"table1": table1_short}
