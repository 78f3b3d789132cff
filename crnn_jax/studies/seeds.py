"""Trains one config with several seeds: python -m crnn_jax.studies.seeds --config=FILE:MODEL

Each seed is a run of the one loop in WORKDIR/seed_N: resumable, and not run again once finished.
Writes the task's scores (accuracies), their mean and 95% interval to results/NAME.json.
"""

import datetime
import pathlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from crnn_jax.config import flatten, override
from crnn_jax.entry import run_training
from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.flags import parse_overrides, resolve_config, split_name


def interval95(values: list[float]) -> float | None:
    """Returns half the width of the 95% interval of the mean (Student's t), None for one value."""
    if len(values) < 2:
        return None
    from scipy import stats  # scikit-learn brings it

    quantile = stats.t.ppf(0.975, len(values) - 1)
    return float(quantile * np.std(values, ddof=1) / np.sqrt(len(values)))


def score_of(first: ConfigDict, *others: ConfigDict) -> str:
    """Returns the name of the figure that the configs' tasks are judged by, such as "accuracy".

    Raises:
      UserError: they have not the same.
    """
    from crnn_jax.tasks import TASKS  # imports JAX

    score = TASKS[first.task].score
    for task in (config.task for config in others):
        if TASKS[task].score != score:
            raise UserError(
                f"config key 'task' expects tasks that are judged by {score}, as '{first.task}' "
                f"is, found '{task}': change it in no run that is compared"
            )
    return score


def summarize(row: str, results: list[dict[str, Any]], score: str = "accuracy") -> dict[str, Any]:
    """Returns one row of a results file from the result.json of each seed; scores in 0..1.

    `score` is a task's: a row has "accuracy_mean" and "accuracies" with the correct ones counted,
    or "mean_iou_mean" and "test", all that was found.
    """
    values = [result["test"][score] for result in results]
    counted: dict[str, Any] = {"score": score, "test": [result["test"] for result in results]}
    if score == "accuracy":
        correct = [f"{r['test']['num_correct']}/{r['test']['num_examples']}" for r in results]
        counted = {"accuracies": values, "correct": correct}
    first = results[0]
    return {
        "row": row,
        f"{score}_mean": float(np.mean(values)),
        "ci95": interval95(values),
        "n": len(results),
        **counted,
        "seeds": [result["seed"] for result in results],
        "epochs": first["epochs"],
        "parameters": first["parameters"],
        "flops_per_image": first["flops_per_image"],
        "images_per_second": [result["images_per_second"] for result in results],
        "seconds": [result["seconds"] for result in results],
        "config_hash": first["config_hash"],
        "git_commit": sorted({str(result["git_commit"]) for result in results}),
        "versions": first["versions"],
        "devices": "; ".join(sorted({result["devices"] for result in results})),
    }


def main(argv: list[str]) -> None:
    """Trains each seed and writes the results file."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.seeds", description=__doc__)
    parser.add_argument("--config", required=True, metavar="FILE:MODEL")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds 0, 1, ...")
    parser.add_argument("--workdir", default="", help="default: runs/seeds_NAME")
    parser.add_argument(
        "--name", default="", help="name of the results file; default: from the config"
    )
    parser.add_argument("--results", default="results", help="folder of the results file")
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        if flags.seeds < 1:
            raise UserError(f"--seeds expects 1 or more, found {flags.seeds}")
        overrides = parse_overrides(rest)
        if "seed" in overrides:
            raise UserError("expected no --config.seed, since --seeds sets it; found one")
        file, argument = split_name(flags.config)
        name = flags.name or f"{pathlib.Path(file).stem}_{argument or 'default'}"
        workdir = pathlib.Path(flags.workdir or f"runs/seeds_{name}")
        results = []
        for seed in range(flags.seeds):
            config = resolve_config(flags.config, overrides)
            override(config, "seed", str(seed))
            from crnn_jax.train.loop import train

            results.append(train(config, str(workdir / f"seed_{seed}")))
        from crnn_jax.writers import write_json_atomically

        score = score_of(config)
        row = summarize(argument or "default", results, score)
        content = {
            "command": " ".join(["python -m crnn_jax.studies.seeds", *argv]),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "config": {**flatten(config), "seed": "varies"},
            **({} if score == "accuracy" else {"study": score}),
            "rows": [row],
        }
        path = pathlib.Path(flags.results) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomically(path, content)
        spread = "" if row["ci95"] is None else f" +- {row['ci95']:.4f} (95%)"
        mean = f"{score.replace('_', ' ')} {row[f'{score}_mean']:.4f}"
        print(f"{name}: test {mean}{spread}, n={row['n']}: {path}")


if __name__ == "__main__":
    run_training(main)
