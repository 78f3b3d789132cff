"""Accuracy against what training costs: python -m crnn_jax.studies.efficiency --dataset=cifar10

The paper's other claim. Trains each row of Table 1 at several sizes, which multiply the width and
the hidden units of its preset, with the preset's epochs; one curve a row, against training FLOPs
and against seconds in training steps. The CRNN's curve is compared with each other's over what both
cover, seed by seed. A size of 1 is Table 1's own run, and is taken from there where it is kept.
Every run is resumable, and kept as RESULTS/efficiency/DATASET_BUDGET/*.json: what has a file is not
trained again. Writes RESULTS/efficiency_DATASET_BUDGET.json, .md and .png. --rates measures the
images/s of all points side by side first, on a machine that does nothing else: without it the
seconds are those of the runs, disturbed or not.
"""

import pathlib
import shutil
import statistics
from collections.abc import Iterable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from crnn_jax.config import override
from crnn_jax.entry import run_training
from crnn_jax.errors import UserError, one_line_errors
from crnn_jax.flags import resolve_config
from crnn_jax.studies import claims, rates, runs
from crnn_jax.studies.budgets import REFERENCE, ROWS, SUFFIXES
from crnn_jax.studies.seeds import interval95, summarize
from crnn_jax.validation import validate

SIZES = "0.5,0.7,1,1.4"
COSTS = {"training_flops": "training FLOPs", "train_seconds": "seconds"}
Curve = list[tuple[float, float]]  # (cost, accuracy) of each size


def parse_sizes(text: str) -> list[float]:
    """Returns [0.5, 1.0] of "1,0.5": sorted, each once."""
    try:
        sizes = sorted({float(part) for part in text.split(",")})
    except ValueError:
        sizes = []
    if len(sizes) < 2 or not 0 < sizes[0] <= sizes[-1] <= 64:
        raise UserError(
            f"--sizes expects two or more factors above 0 and at most 64, such as {SIZES}; "
            f"found '{text}'"
        )
    return sizes


def point_name(row: str, size: float) -> str:
    """Returns the name of a row's point in names of files."""
    return f"{row}_size_{size:g}"


def make_points(
    presets: dict[str, str], sizes: Iterable[float], overrides: dict[str, str]
) -> runs.Points:
    """Returns the config of every size of every row; `presets` names that of each row.

    Raises:
      UserError: a mistake in a config.
    """
    points = {}
    for row, preset in presets.items():
        for size in sizes:
            config = resolve_config(preset, overrides)
            for key in ("width", "hidden_units"):
                if key in config.model:
                    value = max(1, round(size * config.model[key]))
                    override(config, f"model.{key}", str(value))
            validate(config)
            points[point_name(row, size)] = config
    return points


def adopt(kept: pathlib.Path, row: str, config: ConfigDict, folders: runs.Folders) -> None:
    """Copies the runs of Table 1's row that are of this very config into the study's folder."""
    for path in sorted(kept.glob(f"{row}_seed_*.json")):
        seed = path.stem.removeprefix(f"{row}_seed_")
        if not seed.isdecimal():
            continue
        target = runs.kept_path(folders, point_name(row, 1), int(seed))
        if target.exists():
            continue
        try:
            runs.read_kept(path, runs.with_seed(config, int(seed)))
        except UserError:  # made with other settings: trained anew
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        print(f"taken from {path}", flush=True)


def mean_gap(first: Curve, second: Curve) -> float | None:
    """Returns the mean accuracy of `first` minus that of `second` over the costs that both cover.

    A curve runs straight from size to size in the logarithm of the cost, over which the mean is
    taken. None where the curves share no costs.
    """
    (x1, y1), (x2, y2) = (np.array(sorted(curve)).T for curve in (first, second))
    x1, x2 = np.log(x1), np.log(x2)
    low, high = max(x1[0], x2[0]), min(x1[-1], x2[-1])
    if low >= high:
        return None
    at = np.unique(np.clip(np.concatenate([x1, x2]), low, high))
    gap = np.interp(at, x1, y1) - np.interp(at, x2, y2)
    return float(np.sum(np.diff(at) * (gap[1:] + gap[:-1]) / 2) / (high - low))


def make_rows(
    points: dict[str, tuple[str, float]],
    found: dict[str, list[runs.Result]],
    rate_of: dict[str, list[float]] | None,
) -> list[dict[str, Any]]:
    """Returns a row for each point with results; "train_seconds" has one number a seed.

    Args:
      points: name -> (row, size).
      found: what `runs.finished` returns.
      rate_of: images/s [min, median, max] of each point, where they were measured side by side.
    """
    rows = []
    for name, (row, size) in points.items():
        if not (results := found.get(name)):
            continue
        seconds = [result["seconds"].get("train", 0.0) for result in results]
        if rate_of:
            images = [result["steps"] * result["config"]["batch_size"] for result in results]
            seconds = [count / rate_of[name][1] for count in images]
        costs = {"training_flops": runs.spent_flops(results[0]), "train_seconds": seconds}
        rows.append({**summarize(row, results), "size": size, **costs})
    return rows


def compare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns, for each cost and each other row, how the CRNN's curve stands to that row's.

    {"cost", "row", "n", "differences", "mean", "ci95"} over the seeds that all points of both have.
    """
    pairs = []
    others = dict.fromkeys(row["row"] for row in rows if row["row"] != REFERENCE)
    for cost in COSTS:
        for other in others:
            ours, theirs = (_curves(rows, name, cost) for name in (REFERENCE, other))
            gaps = [mean_gap(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
            known = [gap for gap in gaps if gap is not None]
            mean = statistics.mean(known) if known else None
            facts = {"cost": cost, "row": other, "n": len(known), "differences": known}
            ci95 = interval95(known) if known else None
            pairs.append({**facts, "mean": mean, "ci95": ci95})
    return pairs


def _curves(rows: list[dict[str, Any]], name: str, cost: str) -> dict[int, Curve]:
    """Returns seed -> curve, of the seeds that all points of the row have, if there are two."""
    points = [row for row in rows if row["row"] == name]
    curves: dict[int, Curve] = {}
    for row in points:
        costs = row[cost] if isinstance(row[cost], list) else [row[cost]] * row["n"]
        for seed, x, y in zip(row["seeds"], costs, row["accuracies"], strict=True):
            curves.setdefault(seed, []).append((x, y))
    return {seed: curve for seed, curve in curves.items() if len(curve) == len(points) > 1}


def make_sentences(pairs: list[dict[str, Any]], missing: list[str]) -> list[str]:
    """Returns the verdict at equal FLOPs, that at equal seconds, and what is missing."""
    sentences = [_verdict(cost, [p for p in pairs if p["cost"] == cost]) for cost in COSTS]
    if any(pair["n"] == 1 for pair in pairs):
        sentences.append("One seed (n=1) has no interval: small differences may be chance.")
    if missing:
        sentences.append(f"Not trained yet and left out: {', '.join(missing)}.")
    return sentences


def _verdict(cost: str, pairs: list[dict[str, Any]]) -> str:
    higher, lower, unclear = [], [], []
    apart = [pair["row"] for pair in pairs if pair["mean"] is None]
    for pair in pairs:
        if pair["mean"] is None:
            continue
        is_clear = pair["ci95"] is None or abs(pair["mean"]) > pair["ci95"]
        group = unclear if not is_clear else higher if pair["mean"] > 0 else lower
        group.append(f"{claims.name_of(pair['row'])} ({claims.signed_points(pair)}, n={pair['n']})")
    groups = (("higher than", higher), ("lower than", lower), ("not told apart from", unclear))
    texts = [f"{how} {', '.join(group)}" for how, group in groups if group]
    if not texts:
        return f"Nothing can be compared at equal {COSTS[cost]}: no two curves share a seed."
    text = f"At equal {COSTS[cost]} the CRNN is {'; '.join(texts)}"
    if apart:
        text += f"; of {', '.join(map(claims.name_of, apart))} no curve covers what it costs"
    return f"{text}: mean accuracy over the costs that both curves cover."


def make_content(
    points: dict[str, tuple[str, float]],
    found: dict[str, list[runs.Result]],
    measured: dict[str, Any] | None,
) -> dict[str, Any]:
    """Returns the result file's facts.

    `measured` is of `rates.read`; it is left out where it lacks a point: seconds are compared.
    """
    if measured and not set(found) <= set(measured["rates"]):
        measured = None
    rows = make_rows(points, found, measured["rates"] if measured else None)
    pairs = compare(rows)
    return {
        "rates": {k: v for k, v in measured.items() if k != "rates"} if measured else None,
        "rows": rows,
        "crnn_minus": pairs,
        "sentences": make_sentences(pairs, [name for name in points if name not in found]),
    }


def main(argv: list[str]) -> None:
    """Trains what is missing and writes the files."""
    parser = runs.make_parser("efficiency", __doc__)
    parser.add_argument("--dataset", default="cifar10", help="data set of configs/DATASET.py")
    parser.add_argument(
        "--budget", choices=[*SUFFIXES, "full"], default="cpu", help="budget as in table1"
    )
    parser.add_argument("--rows", default="cnn,crnn", help=f"some of {','.join(ROWS)}")
    parser.add_argument("--sizes", default=SIZES, help="factors of width and hidden units")
    parser.add_argument("--seeds", type=int, default=1, help="runs a point: seeds 0, 1, ...")
    parser.add_argument("--rates", action="store_true", help="measure all points' images/s first")
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        overrides = runs.study_overrides(rest, "model.width", "model.hidden_units")
        runs.at_least_one("--seeds", flags.seeds)
        chosen, sizes = runs.choose("--rows", flags.rows, ROWS), parse_sizes(flags.sizes)
        name = f"{flags.dataset}_{flags.budget}"
        results = pathlib.Path(flags.results)
        kept = results / "efficiency" / name
        folders = runs.Folders(kept, pathlib.Path(flags.workdir or f"runs/efficiency_{name}"))
        rows = [row for row in ROWS if row in chosen or any(kept.glob(f"{row}_size_*.json"))]
        suffix = SUFFIXES.get(flags.budget, "")
        presets = {row: f"configs/{flags.dataset}.py:{row}{suffix}" for row in rows}
        points = make_points(presets, sizes, overrides)
        runs.needs_accuracy(next(iter(points.values())))
        names = {point_name(row, size): (row, size) for row in rows for size in sizes}
        for row in rows if 1 in sizes else ():
            adopt(results / "table1" / name, row, points[point_name(row, 1)], folders)
        if flags.rates:
            rates.write(kept / rates.NAME, points)
        if not flags.report:
            trained = [point for point, (row, _) in names.items() if row in chosen]
            runs.run_points(points, trained, flags.seeds, folders)
        head = runs.header("efficiency", argv, dataset=flags.dataset, budget=flags.budget)
        found, measured = runs.finished(points, folders), rates.read(kept / rates.NAME)
        content = make_content(names, found, measured)
        runs.write_results(results / f"efficiency_{name}.json", {**head, **content})


if __name__ == "__main__":
    run_training(main)
