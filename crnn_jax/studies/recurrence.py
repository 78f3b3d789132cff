"""What recurrence buys: python -m crnn_jax.studies.recurrence --config=FILE:MODEL

    python -m crnn_jax.studies.recurrence --config=configs/digits.py:crnn --seeds=5
    python -m crnn_jax.studies.recurrence --config=configs/digits.py:crnn --name=flowers \\
        --config.data.source=folder:flowers --config.data.image_size=32

MODEL is crnn or crnn_small. Trains it; the CNN of the same file, for as many steps as make its
training FLOPs equal; and the CRNN with its steps shuffled, in one fixed order for all images and in
another for each image, whose FLOPs are equal as they are. All have the same seeds, and the CRNN is
compared with each, seed by seed. Every run is resumable, and kept in RESULTS/recurrence/NAME: what
has a file there is not trained again. Writes RESULTS/recurrence_NAME.json and .md.
"""

import pathlib
from typing import Any

from crnn_jax.config import MODEL_DEFAULTS
from crnn_jax.entry import run_training
from crnn_jax.errors import UserError, one_line_errors
from crnn_jax.flags import resolve_config, split_name
from crnn_jax.studies import budgets, runs
from crnn_jax.studies.claims import points as size_of
from crnn_jax.studies.claims import signed_points
from crnn_jax.studies.seeds import summarize

CRNN, CNN = "crnn", "cnn"
ROWS = {
    CRNN: "CRNN",
    CNN: "CNN",
    "crnn_fixed": "CRNN, steps in one shuffled order",
    "crnn_per_image": "CRNN, steps shuffled for each image",
}
_STEP_ORDER = "model.step_order"


def cnn_name(config_name: str) -> str:
    """Returns "FILE:cnn_small,seed=1" of "FILE:crnn_small,seed=1", without keys of the CRNN alone.

    Raises:
      UserError: another model than the CRNN.
    """
    file, argument = split_name(config_name)
    preset, *pairs = argument.split(",")
    if preset != CRNN and not preset.startswith(f"{CRNN}_"):
        raise UserError(
            f"--config expects FILE:crnn or FILE:crnn_small, whose file has a preset of the CNN "
            f"too, found '{config_name}'"
        )
    kept = of_cnn({key: text for key, _, text in (pair.partition("=") for pair in pairs)})
    return ",".join([f"{file}:{CNN}{preset.removeprefix(CRNN)}", *(f"{k}={kept[k]}" for k in kept)])


def of_cnn(overrides: dict[str, str]) -> dict[str, str]:
    """Returns the overrides without the keys that the CRNN has and the CNN has not."""
    theirs = {f"model.{key}" for key in MODEL_DEFAULTS[CRNN].keys() - MODEL_DEFAULTS[CNN].keys()}
    return {key: text for key, text in overrides.items() if key not in theirs}


def make_points(config_name: str, overrides: dict[str, str]) -> runs.Points:
    """Returns the config of each of `ROWS`, all with the training FLOPs of the CRNN.

    Raises:
      UserError: a mistake in a config, another task than those judged by accuracy, or FLOPs that
        no number of steps matches.
    """
    cnn = resolve_config(cnn_name(config_name), of_cnn(overrides))
    crnn, fixed, per_image = (
        resolve_config(config_name, {**overrides, _STEP_ORDER: step_order})
        for step_order in ("natural", "fixed", "per_image")
    )
    runs.needs_accuracy(crnn)
    cnn = budgets.match_flops(CNN, cnn, budgets.training_flops(crnn))
    return dict(zip(ROWS, (crnn, cnn, fixed, per_image), strict=True))


def make_rows(found: dict[str, list[runs.Result]]) -> list[dict[str, Any]]:
    """Returns a row for each point with results; `crnn_minus` is over its seeds and the CRNN's."""
    rows = []
    for name, results in found.items():
        pair = None if name == CRNN else runs.paired_difference(found.get(CRNN, []), results)
        row = {**summarize(ROWS[name], results), "point": name, "crnn_minus": pair}
        rows.append({**row, "training_flops": runs.spent_flops(results[0])})
    return rows


def make_sentence(rows: list[dict[str, Any]]) -> str:
    """Returns what recurrence buys and what the order of its steps is worth, by the intervals."""
    pairs = {row["point"]: row["crnn_minus"] for row in rows}
    clauses = [
        _clause(pairs[name], *words)
        for name, words in {
            CNN: ("recurrence", "buys", "costs", " over the CNN"),
            "crnn_fixed": ("one shuffled order of its steps", "costs", "buys", ""),
            "crnn_per_image": ("a shuffled order for each image", "costs", "buys", ""),
        }.items()
        if pairs.get(name)
    ]
    if not clauses:
        return "Nothing can be compared without the CRNN and another row of the same seed."
    low, *_, high = sorted(pair["n"] for pair in 2 * list(pairs.values()) if pair)
    seeds = f"n={low}" if low == high else f"n={low} to {high}"
    note = "; one seed has no interval, so that nothing shows" if low == 1 else ""
    return f"At equal training FLOPs {', '.join(clauses)} ({seeds}{note})."


def _clause(pair: dict[str, Any], what: str, gain: str, loss: str, over: str) -> str:
    """Returns "recurrence buys 1.20 ± 0.30 points over the CNN", or that nothing shows."""
    if pair["ci95"] is None or abs(pair["mean"]) <= pair["ci95"]:
        return f"{what} {gain} nothing that shows{over} ({signed_points(pair)})"
    return f"{what} {gain if pair['mean'] > 0 else loss} {size_of(pair)}{over}"


def main(argv: list[str]) -> None:
    """Trains what is missing and writes the files."""
    parser = runs.make_parser("recurrence", __doc__)
    parser.add_argument("--config", required=True, metavar="FILE:MODEL")
    parser.add_argument("--name", default="", help="name of the files; default: from the config")
    parser.add_argument("--seeds", type=int, default=5, help="runs a row: seeds 0, 1, ...")
    parser.add_argument(
        "--duration", default="", help="duration of the CRNN; default: the config's"
    )
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        overrides = runs.study_overrides(rest, "duration", _STEP_ORDER)
        overrides |= {"duration": flags.duration} if flags.duration else {}
        runs.at_least_one("--seeds", flags.seeds)
        points = make_points(flags.config, overrides)
        name = flags.name or runs.config_name(flags.config)
        results = pathlib.Path(flags.results)
        folders = runs.Folders(
            results / "recurrence" / name, pathlib.Path(flags.workdir or f"runs/recurrence_{name}")
        )
        if not flags.report:
            runs.run_points(points, points, flags.seeds, folders)
        rows = make_rows(runs.finished(points, folders))
        facts = {"config": flags.config, "source": points[CRNN].data.source}
        head = runs.header("recurrence", argv, duration=points[CRNN].duration, **facts)
        content = {**head, "rows": rows, "sentences": [make_sentence(rows)]}
        runs.write_results(results / f"recurrence_{name}.json", content)


if __name__ == "__main__":
    run_training(main)
