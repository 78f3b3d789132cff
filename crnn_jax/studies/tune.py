"""Chooses settings on a validation part: python -m crnn_jax.studies.tune --config=FILE:MODEL

    python -m crnn_jax.studies.tune --config=configs/digits.py:crnn --seeds=3 \\
        --trial=optim.learning_rate=0.002 --trial=optim.learning_rate=0.008,optim.weight_decay=0

Each --trial is a set of changed keys; the config as it is comes first. Every run holds out
--validation of the training split and reports that: the test split is not read. Runs lie in
WORKDIR/TRIAL/seed_N, resumable. Writes results/tuning/NAME.json, the best trial marked.
"""

import datetime
import pathlib
import zlib
from typing import Any

import numpy as np

from crnn_jax.config import override
from crnn_jax.entry import run_training
from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.flags import parse_overrides, resolve_config, split_name
from crnn_jax.studies.runs import config_name
from crnn_jax.studies.seeds import score_of

_LONGEST = 200  # bytes of a folder's name


def parse_trial(text: str) -> dict[str, str]:
    """Returns {"seed": "3", "batch_size": "64"} of "seed=3,batch_size=64", and {} of ""."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    for key, equals, _ in pairs:
        if not equals:
            raise UserError(f"--trial expects KEY=VALUE[,KEY=VALUE...], found '{key}'")
    return {key: value for key, _, value in pairs}


def folder_name(changes: dict[str, str]) -> str:
    """Returns "a=1,b=2", which every file system takes: a long one ends with its checksum."""
    name = ",".join(f"{k}={v}" for k, v in changes.items()).replace("/", "_") or "as_is"
    if len(name.encode()) <= _LONGEST:
        return name
    return (
        f"{name.encode()[: _LONGEST - 9].decode(errors='ignore')}_{zlib.crc32(name.encode()):08x}"
    )


def run_trial(
    config_name: str, changes: dict[str, str], seeds: int, validation: float, workdir: pathlib.Path
) -> dict[str, Any]:
    """Returns the validation scores, 0..1, of a config with `changes`, one a seed.

    Those of a classification are "validation_accuracies" with "validation_accuracy_mean", those of
    another task have the name of its score: "validation_mean_iou", "validation_mean_iou_mean".
    """
    from crnn_jax.train.loop import train

    score, scores, seconds = "", [], []
    for seed in range(seeds):
        config = resolve_config(config_name, changes)
        for key, value in {
            "seed": seed,
            "data.validation": validation,
            "eval.report": "validation",
            "eval.every": "0 steps",  # the last weights alone decide, as they do in the end
        }.items():
            override(config, key, str(value))
        result = train(config, str(workdir / f"seed_{seed}"))
        score = score_of(config)
        scores.append(result["validation"][score])
        seconds.append(result["seconds"].get("train", 0.0))
    return {
        "changes": changes,
        f"validation_{score}_mean": float(np.mean(scores)),
        "validation_accuracies" if score == "accuracy" else f"validation_{score}": scores,
        "train_seconds": seconds,
    }


def main(argv: list[str]) -> None:
    """Runs the trials and writes the results file."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.tune", description=__doc__)
    parser.add_argument("--config", required=True, metavar="FILE:MODEL")
    parser.add_argument("--trial", action="append", default=[], metavar="KEY=VALUE[,...]")
    parser.add_argument("--seeds", type=int, default=1, help="runs a trial: seeds 0, 1, ...")
    parser.add_argument("--validation", type=float, default=0.1, help="fraction held out")
    parser.add_argument("--workdir", default="", help="default: runs/tune_NAME")
    parser.add_argument("--results", default="results/tuning", help="folder of the results file")
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        common = parse_overrides(rest)
        if flags.seeds < 1:
            raise UserError(f"--seeds expects 1 or more, found {flags.seeds}")
        trials = [{**common, **parse_trial(text)} for text in ["", *flags.trial]]
        configs = [resolve_config(flags.config, changes) for changes in trials]
        mean = f"validation_{score_of(*configs)}_mean"  # all mistakes before the first run
        file, argument = split_name(flags.config)
        name = config_name(f"{file}:{argument or 'default'}")
        workdir = pathlib.Path(flags.workdir or f"runs/tune_{name}")
        rows = []
        for changes in trials:
            path = workdir / folder_name(changes)
            rows.append(run_trial(flags.config, changes, flags.seeds, flags.validation, path))
        from crnn_jax.provenance import describe_devices, git_commit
        from crnn_jax.writers import write_json_atomically

        best = max(rows, key=lambda row: row[mean])  # the first of equals
        content = {
            "command": " ".join(["python -m crnn_jax.studies.tune", *argv]),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "git_commit": git_commit(),
            "devices": describe_devices(),
            "validation_fraction": flags.validation,
            "best": best["changes"],
            "trials": rows,
        }
        path = pathlib.Path(flags.results) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomically(path, content)
        for row in rows:
            mark = "*" if row is best else " "
            changes = ", ".join(f"{k}={v}" for k, v in row["changes"].items()) or "as it is"
            print(f"{mark} {row[mean]:.4f}  {changes}")
        print(f"written to {path}")


if __name__ == "__main__":
    run_training(main)
