"""How far the maps of an explanation can be believed, as a table."""

from typing import Any

from crnn_jax.report.formats import measured_on


def saliency_table(content: dict[str, Any]) -> str:
    """Returns a line for each method: areas against random, rank correlation; "" if not checked."""
    checks = content.get("checks")
    if checks is None:
        return "No figures: --check was 0, or the images were given."
    methods = checks["methods"]
    cascade = list(next(iter(methods.values()))["correlation"])
    header = ["method", "insertion", "deletion", "difference", "more than random"]
    header += [f"rank correlation, random {what}" for what in cascade]
    lines = [header, ["---"] * len(header)]
    for name, row in methods.items():
        interval = row["minus_random_ci95"]
        gain = f"{row['minus_random']:+.3f}" + ("" if interval is None else f" ± {interval:.3f}")
        correlation = [row["correlation"][what] for what in cascade]
        lines.append([name, *_areas(row), gain, *("-" if c is None else f"{c:.2f}"
                      for c in correlation)])  # fmt: skip
    lines.append(["random order", *_areas(checks["random"]), "-", *["-"] * len(cascade)])
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    note = (
        f"Means over {checks['images']} test images, ± half the 95% interval of the mean. Areas "
        "under the probability of the predicted class: insertion up and deletion down is good. "
        "Rank correlation with the maps of a model whose parts are initialised anew: near 0 is "
        "good. Integrated gradients miss their sum by "
        f"{100 * checks['integrated_gradients_gap']:.1f}% in the median image. "
        f"{measured_on(content)}."
    )
    return f"{table}\n\n{note}"


def _areas(row: dict[str, float]) -> list[str]:
    return [f"{row[name]:.3f}" for name in ("insertion", "deletion", "difference")]
