"""Compares settings of one config: python -m crnn_jax.studies.variants --config=FILE:MODEL --name=X

    python -m crnn_jax.studies.variants --config=configs/cifar10.py:crnn_small --name=readouts \\
        --seeds=3 --variant="last state:" --variant=attention:model.readout=attention

A --variant is a name and the keys that it changes; all have the same seeds, and each is compared
with the first, seed by seed. Every run is resumable, and kept as RESULTS/variants/NAME/*.json:
what has a file is not trained again. Writes RESULTS/variants_NAME.json and .md.
"""

import pathlib
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.entry import run_training
from crnn_jax.errors import UserError, one_line_errors
from crnn_jax.flags import resolve_config
from crnn_jax.studies import runs
from crnn_jax.studies.claims import signed_points
from crnn_jax.studies.seeds import score_of, summarize
from crnn_jax.studies.tune import parse_trial


def parse_variants(texts: list[str]) -> dict[str, dict[str, str]]:
    """Returns {"attention": {"model.readout": "attention"}} of ["attention:model.readout=..."].

    Raises:
      UserError: a variant without a colon, or a name that is there twice.
    """
    variants: dict[str, dict[str, str]] = {}
    for text in texts:
        name, colon, changes = text.partition(":")
        if not name or not colon or name in variants:
            raise UserError(
                "--variant expects NAME:KEY=VALUE[,KEY=VALUE...] with a name of its own, found "
                f"'{text}'"
            )
        variants[name] = parse_trial(changes)
    return variants


def make_rows(
    variants: dict[str, dict[str, str]],
    found: dict[str, list[runs.Result]],
    score: str = "accuracy",
) -> list[dict[str, Any]]:
    """Returns a row for each variant with results; `difference` is from the first, by seed."""
    first = found.get(file_name(next(iter(variants))))
    rows = []
    for name, changes in variants.items():
        if results := found.get(file_name(name)):
            difference = None
            if first is not None and results is not first:
                difference = runs.paired_difference(results, first, score)
            row = summarize(name, results, score)
            rows.append({**row, "keys": changes, "difference": difference})
    return rows


def file_name(variant: str) -> str:
    """Returns the name of a variant in names of files."""
    return runs.config_name(f"{variant}.py:").strip("_").replace(" ", "_")


def make_sentences(rows: list[dict[str, Any]]) -> list[str]:
    """Returns a sentence for each variant: how it stands to the first."""
    sentences = []
    for row in rows[1:]:
        pair = row["difference"]
        known = pair and pair["ci95"] is not None
        clear = known and abs(pair["mean"]) > pair["ci95"]
        verdict = "differ" if clear else "cannot be told apart"
        if pair:
            sentences.append(
                f"'{row['row']}' and '{rows[0]['row']}' {verdict} over {pair['n']} seeds: "
                f"{signed_points(pair)}."
            )
    return sentences


def main(argv: list[str]) -> None:
    """Trains what is missing and writes the files."""
    parser = runs.make_parser("variants", __doc__)
    parser.add_argument("--config", required=True, metavar="FILE:MODEL")
    parser.add_argument("--name", required=True, help="name of the files")
    parser.add_argument("--variant", action="append", required=True, metavar="NAME:KEY=VALUE,...")
    parser.add_argument("--seeds", type=int, default=3, help="runs a variant: seeds 0, 1, ...")
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        common = runs.study_overrides(rest)
        runs.at_least_one("--seeds", flags.seeds)
        variants = parse_variants(flags.variant)
        points: dict[str, ConfigDict] = {
            file_name(name): resolve_config(flags.config, {**common, **changes})
            for name, changes in variants.items()
        }
        score = score_of(*points.values())
        results = pathlib.Path(flags.results)
        folders = runs.Folders(
            results / "variants" / flags.name,
            pathlib.Path(flags.workdir or f"runs/variants_{flags.name}"),
        )
        if not flags.report:
            runs.run_points(points, points, flags.seeds, folders)
        rows = make_rows(variants, runs.finished(points, folders), score)
        duration = next(iter(points.values())).duration
        head = runs.header("variants", argv, config=flags.config, duration=duration)
        content = {**head, "rows": rows, "sentences": make_sentences(rows)}
        runs.write_results(results / f"variants_{flags.name}.json", content)


if __name__ == "__main__":
    run_training(main)
