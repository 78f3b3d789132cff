"""Time to accuracy: python -m crnn_jax.studies.race --target=0.94 --runs=10

Trains CONFIG, whose duration is fixed, with seeds 0, 1, ...; a run reaches the target if the test
accuracy of its last weights does. No run is stopped early and no epoch is chosen by a test
accuracy. Every run is kept as in studies/table1.py; writes RESULTS/race_NAME.json and .md.
"""

import pathlib
from typing import Any

import numpy as np

from crnn_jax.entry import run_training
from crnn_jax.errors import UserError, one_line_errors
from crnn_jax.flags import resolve_config
from crnn_jax.studies import runs
from crnn_jax.studies.seeds import interval95, summarize

# What is timed: its name in the file, what it is, and the phases of result.json that it adds up;
# none: all of them.
TIMED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("without_compile", "training steps", ("train",)),
    ("with_compile", "training steps and their compilation", ("train", "compile")),
    ("with_evaluation", "training steps and evaluation", ("train", "evaluation")),
    ("all", "everything: reading data, compilation, training, checkpoint, evaluation", ()),
)


def spread(values: list[float]) -> dict[str, Any]:
    """Returns median, quartiles, lowest and highest of the values, and the values."""
    quartiles = np.quantile(values, [0.25, 0.5, 0.75])
    return {
        "median": float(quartiles[1]),
        "quartiles": [float(quartiles[0]), float(quartiles[2])],
        "lowest": min(values),
        "highest": max(values),
        "values": values,
    }


def reaching(target: float, accuracies: list[float]) -> dict[str, Any]:
    """Returns the accuracies' mean, its 95% interval, and how many are at least `target`."""
    least = target - 1e-9  # the mean of ten times 0.94 is a rounding error below 0.94
    mean = float(np.mean(accuracies))
    num_reached = sum(accuracy >= least for accuracy in accuracies)
    return {
        "accuracy_mean": mean,
        "ci95": interval95(accuracies),
        "accuracies": accuracies,
        "mean_reached": mean >= least,
        "num_reached": num_reached,
        "share_reached": num_reached / len(accuracies),
    }


def make_content(target: float, results: list[runs.Result]) -> dict[str, Any]:
    """Returns the result file's facts of the runs.

    Runs that report an accuracy with test-time augmentation too have it apart, under "tta".
    """
    seconds = {}
    for name, what, phases in TIMED:
        parts = [[r["seconds"].get(p, 0.0) for p in phases or r["seconds"]] for r in results]
        seconds[name] = {"what": what, **spread([sum(values) for values in parts])}
    plain = reaching(target, [result["test"]["accuracy"] for result in results])
    sentences = [_verdict(target, plain, len(results), "")]
    tta = None
    if all("test_tta" in result for result in results):
        tta = reaching(target, [result["test_tta"]["accuracy"] for result in results])
        sentences.append(_verdict(target, tta, len(results), ", with test-time augmentation,"))
    sentences.append(
        f"Median {seconds['without_compile']['median']:.2f} s of training steps, "
        f"{seconds['with_compile']['median']:.2f} s with their compilation."
    )
    if len(results) < 10:
        sentences.append(f"n={len(results)}: fewer than the 10 runs that a spread asks for.")
    return {
        "target": target,
        "plain": plain,
        "tta": tta,
        "seconds": seconds,
        "rows": [summarize("race", results)],
        "sentences": sentences,
    }


def _verdict(target: float, found: dict[str, Any], num_runs: int, how: str) -> str:
    # The mean decides, as the record holders of this race have it; the share says how surely.
    verdict = "reached" if found["mean_reached"] else "not reached"
    mean = f"{100 * found['accuracy_mean']:.2f}%"
    by = f"by the mean of {num_runs} runs ({mean}), and by {found['num_reached']} of them"
    if num_runs == 1:
        by = f"by the one run ({mean})"
    return f"{100 * target:g}% is{how} {verdict} {by}."


def main(argv: list[str]) -> None:
    """Trains what is missing and writes the files."""
    parser = runs.make_parser("race", __doc__)
    parser.add_argument("--target", type=float, required=True, help="test accuracy, such as 0.94")
    parser.add_argument("--runs", type=int, default=10, help="number of runs, of seeds 0, 1, ...")
    parser.add_argument("--config", default="configs/cifar10_race.py", metavar="FILE[:MODEL]")
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        if not 0 < flags.target < 1:
            raise UserError(f"--target expects a fraction such as 0.94, found {flags.target}")
        runs.at_least_one("--runs", flags.runs)
        config = resolve_config(flags.config, runs.study_overrides(rest))
        runs.needs_accuracy(config)
        name = runs.config_name(flags.config)
        results = pathlib.Path(flags.results)
        folders = runs.Folders(
            results / "race" / name, pathlib.Path(flags.workdir or f"runs/race_{name}")
        )
        points = {"run": config}
        if not flags.report:
            runs.run_points(points, points, flags.runs, folders)
        (found,) = runs.finished(points, folders).values()
        head = runs.header("race", argv, config=flags.config, duration=config.duration)
        runs.write_results(
            results / f"race_{name}.json", {**head, **make_content(flags.target, found)}
        )


if __name__ == "__main__":
    run_training(main)
