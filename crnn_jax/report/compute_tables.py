"""Markdown tables of the studies that compare models by what their training costs."""

import statistics
from typing import Any

from crnn_jax.report.formats import (
    format_accuracy,
    format_commits,
    format_seconds,
    markdown,
    measured_on,
    train_seconds,
    with_interval,
)


def recurrence_table(content: dict[str, Any]) -> str:
    """Returns one line a row, the CRNN's difference from each, and what that says."""
    header = [
        *"row|test accuracy|n|CRNN minus row, by seed|parameters|MFLOP/image|epochs".split("|"),
        *"training FLOPs|training".split("|"),
    ]
    rows = []
    for row in content["rows"]:
        pair = row["crnn_minus"]
        rows.append(
            [
                row["row"],
                format_accuracy(row),
                str(row["n"]),
                with_interval(pair["mean"], pair["ci95"], "+") if pair else "-",
                f"{row['parameters']:,}",
                f"{row['flops_per_image'] / 1e6:.1f}",
                f"{row['epochs']:.4g}",
                f"{row['training_flops']:.2e}",
                train_seconds(row),
            ]
        )
    first = content["rows"][0]
    note = (
        f"{content['config']} on {content['source']}, {content['duration']} a run of the CRNN; "
        f"{first['devices']}, commit {format_commits(first)}."
    )
    return "\n".join([markdown(header, rows), "", note, *content["sentences"]])


def efficiency_table(content: dict[str, Any]) -> str:
    """Returns one line a size of each row, and the verdicts at equal cost."""
    header = [
        *"row|size|test accuracy|n|parameters|MFLOP/image|epochs".split("|"),
        *"training FLOPs|training|on|commit".split("|"),
    ]
    rows = [
        [
            row["row"],
            f"{row['size']:g}",
            format_accuracy(row),
            str(row["n"]),
            f"{row['parameters']:,}",
            f"{row['flops_per_image'] / 1e6:.1f}",
            f"{row['epochs']:.4g}",
            f"{row['training_flops']:.2e}",
            format_seconds(statistics.median(row["train_seconds"])),
            row["devices"],
            format_commits(row),
        ]
        for row in content["rows"]
    ]
    measured = "Training time is that of these very runs, disturbed or not."
    if apart := content["rates"]:
        measured = (
            "Training time is a run's images over images/s that were measured apart, all points "
            f"taking turns: {measured_on(apart)}."
        )
    sizes = "A size multiplies width and hidden units of the row's preset; epochs are the preset's."
    return "\n".join([markdown(header, rows), "", sizes, *content["sentences"], measured])
