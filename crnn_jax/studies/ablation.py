"""From the paper's recipe to ours: python -m crnn_jax.studies.ablation --duration="2 epochs"

Trains CONFIG with recipe=paper, then with one change more each time, in the order of the config
file's CHANGES, up to the config itself. No choice is made here: the lines report the test accuracy
of the last weights. Every run is resumable and kept as in studies/table1.py; writes
RESULTS/ablation_NAME.json and .md.
"""

import pathlib
import re
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.config import flatten, override
from crnn_jax.entry import run_training
from crnn_jax.errors import UserError, one_line_errors
from crnn_jax.flags import load_config_module, resolve_config, split_name
from crnn_jax.studies import claims, runs
from crnn_jax.studies.seeds import summarize
from crnn_jax.validation import validate

Change = tuple[str, dict[str, tuple[Any, Any]]]  # its name; key -> value before, value after


def make_lines(config_name: str, overrides: dict[str, str]) -> tuple[list[Change], runs.Points]:
    """Returns the changes, the recipe of the paper first, and the config of each line.

    Raises:
      UserError: the config file's CHANGES are not what lies between its two recipes.
    """
    changes = getattr(load_config_module(split_name(config_name)[0]), "CHANGES", None)
    if changes is None:
        raise UserError(f"--config expects a file with CHANGES, found none in '{config_name}'")
    best = resolve_config(config_name, overrides)
    config = resolve_config(f"{config_name},recipe=paper", overrides)
    _check_changes(changes, flatten(config), flatten(best))
    lines: list[Change] = [("the paper's recipe", {})]
    points = {_point(0, "paper"): config}
    after = flatten(best)
    for name, named in changes:
        before = flatten(config)
        if not (keys := [key for key in named if before[key] != after[key]]):
            continue
        config = ConfigDict(config.to_dict())
        for key in keys:
            override(config, key, str(after[key]))
        validate(config)
        lines.append((name, {key: (before[key], after[key]) for key in keys}))
        points[_point(len(points), name)] = config
    return lines, points


def _point(index: int, name: str) -> str:
    return f"{index:02}_{re.sub('[^a-z0-9]+', '_', name.lower())}"


def _check_changes(
    changes: tuple[tuple[str, tuple[str, ...]], ...], paper: dict[str, Any], best: dict[str, Any]
) -> None:
    named = [key for _, keys in changes for key in keys]
    different = [key for key in best if paper[key] != best[key]]
    wrong = sorted(set(different) - set(named) | {key for key in named if named.count(key) > 1})
    if wrong:
        raise UserError(
            "CHANGES of the config file expects each key that differs between recipe=paper and "
            f"recipe=best once: check {', '.join(wrong)}"
        )


def make_rows(
    lines: list[Change], points: runs.Points, found: dict[str, list[runs.Result]]
) -> list[dict[str, Any]]:
    """Returns a row for each line that has results; `gain` is over the line above, seed by seed."""
    rows, above = [], None
    for (name, keys), point in zip(lines, points, strict=True):
        results = found.get(point)
        if results:
            gain = runs.paired_difference(results, above) if above else None
            rows.append({**summarize(name, results), "keys": keys, "gain": gain})
        above = results
    return rows


def make_sentences(rows: list[dict[str, Any]], lines: list[Change]) -> list[str]:
    """Returns what the changes bring together, and which lines are missing."""
    names = [name for name, _ in lines]
    missing = [name for name in names if name not in {row["row"] for row in rows}]
    sentences = []
    gains = [(row["row"], row["gain"]) for row in rows if row["gain"]]
    if gains:
        name, gain = max(gains, key=lambda item: item[1]["mean"])
        sentences.append(f"The largest gain: {name}, {claims.signed_points(gain)}.")
        losses = [f"{n} ({claims.signed_points(g)})" for n, g in gains if g["mean"] < 0]
        if losses:
            sentences.append(f"Lower than the line above: {'; '.join(losses)}.")
    if min(row["n"] for row in rows) == 1:
        sentences.append("A line with one seed (n=1) has no interval: small gains may be chance.")
    if missing:
        sentences.append(f"Not trained yet and left out: {', '.join(missing)}.")
    return sentences


def main(argv: list[str]) -> None:
    """Trains what is missing and writes the files."""
    parser = runs.make_parser("ablation", __doc__)
    parser.add_argument("--config", default="configs/cifar10.py:crnn", metavar="FILE:MODEL")
    parser.add_argument("--seeds", type=int, default=1, help="runs a line: seeds 0, 1, ...")
    parser.add_argument("--duration", default="", help="duration of a run; default: the config's")
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        overrides = runs.study_overrides(rest, "duration")
        overrides |= {"duration": flags.duration} if flags.duration else {}
        runs.at_least_one("--seeds", flags.seeds)
        lines, points = make_lines(flags.config, overrides)
        runs.needs_accuracy(next(iter(points.values())))
        name = runs.config_name(flags.config)
        results = pathlib.Path(flags.results)
        folders = runs.Folders(
            results / "ablation" / name, pathlib.Path(flags.workdir or f"runs/ablation_{name}")
        )
        if not flags.report:
            runs.run_points(points, points, flags.seeds, folders)
        rows = make_rows(lines, points, runs.finished(points, folders))
        duration = next(iter(points.values())).duration
        head = runs.header("ablation", argv, config=flags.config, duration=duration)
        content = {**head, "rows": rows, "sentences": make_sentences(rows, lines)}
        runs.write_results(results / f"ablation_{name}.json", content)


if __name__ == "__main__":
    run_training(main)
