"""Fig. 2 of the paper: python -m crnn_jax.studies.sensitivity --duration="2 epochs"

Trains the CRNN for every number of convolutional layers and of hidden units on a grid. A tenth of
the training split is held out: the setting to choose is the one that is best there, and the test
accuracy is reported. Every run is resumable and kept as in studies/table1.py; writes
RESULTS/sensitivity_NAME.json, .md and .png, a heat map.
"""

import pathlib
import statistics
from typing import Any

from crnn_jax.config import override
from crnn_jax.entry import run_training
from crnn_jax.errors import UserError, one_line_errors
from crnn_jax.flags import resolve_config
from crnn_jax.studies import claims, runs
from crnn_jax.studies.seeds import summarize
from crnn_jax.validation import validate


def parse_numbers(flag: str, text: str) -> list[int]:
    """Returns [3, 6, 9] of "9,3,6": sorted, each once."""
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 1:
        raise UserError(f"{flag} expects whole numbers above 0 such as 3,6,9; found '{text}'")
    return numbers


def point_name(layers: int, units: int) -> str:
    """Returns the name of a grid point."""
    return f"layers_{layers}_units_{units}"


def make_points(
    config_name: str, overrides: dict[str, str], layers: list[int], units: list[int]
) -> runs.Points:
    """Returns a config for each point of the grid.

    Raises:
      UserError: fewer layers than the trunk has stages, or a model without layers or units.
    """
    points = {}
    for num_layers in layers:
        for hidden_units in units:
            config = resolve_config(config_name, overrides)
            override(config, "model.num_conv_layers", str(num_layers))
            override(config, "model.hidden_units", str(hidden_units))
            validate(config)
            points[point_name(num_layers, hidden_units)] = config
    return points


def make_rows(
    found: dict[str, list[runs.Result]], layers: list[int], units: list[int]
) -> list[dict[str, Any]]:
    """Returns a row for each point that has results."""
    rows = []
    for num_layers in layers:
        for hidden_units in units:
            name = point_name(num_layers, hidden_units)
            if name not in found:
                continue
            accuracies = [result["validation"]["accuracy"] for result in found[name]]
            rows.append(
                {
                    "num_conv_layers": num_layers,
                    "hidden_units": hidden_units,
                    "validation_accuracies": accuracies,
                    "validation_accuracy_mean": statistics.mean(accuracies),
                    **summarize(name, found[name]),
                }
            )
    return rows


def make_sentences(rows: list[dict[str, Any]], num_points: int) -> list[str]:
    """Returns the verdict on the paper's claim, and which point the held-out part would choose."""
    best = max(rows, key=lambda row: row["validation_accuracy_mean"])
    sentences = [
        claims.stability(rows),
        f"Best on the held-out part: {best['num_conv_layers']} layers and {best['hidden_units']} "
        f"units, {100 * best['accuracy_mean']:.2f}% on the test split.",
    ]
    if min(row["n"] for row in rows) == 1:
        sentences.append("With one seed (n=1) a point has no interval.")
    if len(rows) < num_points:
        sentences.append(f"Not trained yet and left out: {num_points - len(rows)} points.")
    return sentences


def main(argv: list[str]) -> None:
    """Trains what is missing and writes the files."""
    parser = runs.make_parser("sensitivity", __doc__)
    parser.add_argument("--config", default="configs/cifar10.py:crnn_small", metavar="FILE:MODEL")
    parser.add_argument("--layers", default="3,6,9", help="3x3 convolutions in all")
    parser.add_argument("--units", default="64,128,256", help="hidden units of the recurrent layer")
    parser.add_argument("--seeds", type=int, default=1, help="runs a point: seeds 0, 1, ...")
    parser.add_argument("--duration", default="", help="duration of a run; default: the config's")
    parser.add_argument("--validation", type=float, default=0.1, help="fraction held out")
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        reserved = ("duration", "data.validation", "model.num_conv_layers", "model.hidden_units")
        overrides = runs.study_overrides(rest, *reserved)
        if not 0 < flags.validation < 1:
            raise UserError(
                f"--validation expects more than 0 and less than 1, found {flags.validation}"
            )
        overrides |= {"data.validation": str(flags.validation)}
        overrides |= {"duration": flags.duration} if flags.duration else {}
        runs.at_least_one("--seeds", flags.seeds)
        layers = parse_numbers("--layers", flags.layers)
        units = parse_numbers("--units", flags.units)
        points = make_points(flags.config, overrides, layers, units)
        runs.needs_accuracy(next(iter(points.values())))
        name = runs.config_name(flags.config)
        results = pathlib.Path(flags.results)
        folders = runs.Folders(
            results / "sensitivity" / name,
            pathlib.Path(flags.workdir or f"runs/sensitivity_{name}"),
        )
        if not flags.report:
            runs.run_points(points, points, flags.seeds, folders)
        rows = make_rows(runs.finished(points, folders), layers, units)
        facts = {
            "dataset": name.partition("_")[0],
            "config": flags.config,
            "duration": next(iter(points.values())).duration,
            "validation": flags.validation,
            "layers": layers,
            "units": units,
        }
        sentences = make_sentences(rows, len(points))
        content = {**runs.header("sensitivity", argv, **facts), "rows": rows}
        runs.write_results(
            results / f"sensitivity_{name}.json", {**content, "sentences": sentences}
        )


if __name__ == "__main__":
    run_training(main)
