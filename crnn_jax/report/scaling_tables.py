"""Tables of the scaling studies under results/scaling/."""

import json
import pathlib
from typing import Any

from crnn_jax.errors import UserError


def points_table(results: pathlib.Path) -> str:
    """Returns the measured points of every study."""
    lines: list[str] = []
    for name, content in _studies(results):
        first = content["points"][0]
        commit = (content["git_commit"] or "unknown")[:7]
        lines += [
            f"[{name}](../results/scaling/{name}.json): {content['mode']} scaling of "
            f"`{content['config']}`, n={len(first['step_seconds'])}, {first['described']}, "
            f"commit {commit}, {content['date']}.",
            "",
            "| devices | processes | batch | s/step (95%) | images/s | efficiency "
            "| in collectives | MiB/device | predicted |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_point(row) for row in content["points"]]
        lines.append("")
    return "\n".join(lines[:-1])


def _point(row: dict[str, Any]) -> str:
    interval = "" if row["ci95"] is None else f" ± {row['ci95']:.3f}"
    share = row["collective_seconds"]
    cells = [
        f"{row['devices']} | {row['processes']} | {row['batch_size']}",
        f"{row['seconds']:.3f}{interval}",
        f"{row['images_per_second']:,.0f} | {row['efficiency']:.0%}",
        "-" if share is None else f"{share / row['seconds']:.0%}",
        f"{row['memory_bytes'] / 2**20:,.0f} | {row['prediction_error']:+.0%}",
    ]
    return f"| {' | '.join(cells)} |"


def projection_table(results: pathlib.Path) -> str:
    """Returns the projections of every study that has one."""
    lines: list[str] = []
    for name, content in _studies(results):
        if "projection" not in content:
            continue
        projection = content["projection"]
        chips = [point["chips"] for point in next(iter(projection["chips"].values()))["points"]]
        lines += [
            f"{name}, global batch {projection['batch_size']:,}; images/s (MFU):",
            "",
            f"| chip | {' | '.join(f'x {n}' for n in chips)} | pays up to | stopped by | figures |",
            f"|{'---|' * (len(chips) + 4)}",
        ]
        for chip, found in projection["chips"].items():
            rates = [f"{p['images_per_second']:,.0f} ({p['mfu']:.0%})" for p in found["points"]]
            end = f"{found['pays_up_to']} | {found['stopped_by']} | {found['source']}"
            lines.append(f"| {chip} | {' | '.join(rates)} | {end} |")
        lines += ["", "Global batch from which 80% of the step is computing:", ""]
        lines += [
            f"| chip | {' | '.join(f'x {n}' for n in chips)} |",
            f"|{'---|' * (len(chips) + 1)}",
        ]
        for chip, found in projection["chips"].items():
            batches = [f"{p['batch_for_80_percent']:,}" for p in found["points"]]
            lines.append(f"| {chip} | {' | '.join(batches)} |")
        lines += ["", "Assumed:", "", *(f"- {text}" for text in projection["assumptions"]), ""]
    return "\n".join(lines[:-1])


def _studies(results: pathlib.Path) -> list[tuple[str, dict[str, Any]]]:
    paths = sorted((results / "scaling").glob("*.json"))
    if not paths:
        raise UserError(f"expected JSON files in '{results}/scaling': run crnn_jax.studies.scaling")
    return [(path.stem, json.loads(path.read_text())) for path in paths]
