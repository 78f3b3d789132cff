"""Predicted time and cost of ImageNet's recipes: python -m crnn_jax.studies.cost

Takes what `studies.scaling --mode=strong --config=configs/imagenet.py:MODEL,hardware=cpu` measured,
projects a step to the chips of each recipe (studies/projection.py, whose assumptions hold here
too), and multiplies by the images of the recipe's duration. Nothing is measured here, and nothing
was run on these chips: predictions. --price=H100=2.5 sets a price per chip and hour, in dollars.
Writes RESULTS/cost_imagenet.json and .md.
"""

import json
import pathlib
import sys
from typing import Any

from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.flags import resolve_config
from crnn_jax.studies import runs
from crnn_jax.studies.hardware import CHIPS, PRICES
from crnn_jax.studies.projection import ASSUMPTIONS, project
from crnn_jax.studies.scaling import program_of

CONFIG = "configs/imagenet.py"
NUM_TRAIN = 1_281_167  # training images of ILSVRC2012
# hardware= of the config file: which chips, and how many.
MACHINES = {"8gpu": ("H100", 8), "tpu_v4_32": ("v4", 16), "tpu_v5e_16": ("v5e", 16)}


def predict(measured: dict[str, Any], model: str, prices: dict[str, float]) -> list[dict[str, Any]]:
    """Returns a row for each of `MACHINES`.

    Args:
      measured: content of a strong scaling study's file.
      model: its model, such as "crnn".
      prices: dollars per chip and hour.
    """
    program = program_of(measured["points"], measured["one_device"])
    rows = []
    for hardware, (chip, num_chips) in MACHINES.items():
        config = resolve_config(f"{CONFIG}:{model},hardware={hardware}", {})
        epochs, unit = config.duration.split()
        if unit != "epochs":
            raise UserError(f"expected a duration in epochs, found '{config.duration}'")
        point = project(program, CHIPS[chip], num_chips, config.batch_size)
        hours = float(epochs) * NUM_TRAIN / point["images_per_second"] / 3600
        rows.append(
            {
                "row": model,
                "hardware": hardware,
                "chip": chip,
                "chips": num_chips,
                "batch_size": config.batch_size,
                "epochs": float(epochs),
                "images_per_second": point["images_per_second"],
                "mfu": point["mfu"],
                "bound": point["bound"],
                "hours": hours,
                "price_per_chip_hour": prices[chip],
                "dollars": hours * num_chips * prices[chip],
            }
        )
    return rows


def parse_prices(texts: list[str]) -> dict[str, float]:
    """Returns `PRICES` with those of "CHIP=DOLLARS"."""
    prices = dict(PRICES)
    for text in texts:
        chip, _, dollars = text.partition("=")
        try:
            price = float(dollars)
        except ValueError:
            price = -1.0
        if chip not in prices or price < 0:
            raise UserError(
                f"--price expects CHIP=DOLLARS of {', '.join(prices)} (such as H100=2.5), "
                f"found '{text}'"
            )
        prices[chip] = price
    return prices


def main(argv: list[str]) -> None:
    """Predicts and writes."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.cost", description=__doc__)
    parser.add_argument("--results", default="results", help="folder of the result files")
    parser.add_argument("--models", default="crnn", help="measured ones, comma-separated")
    parser.add_argument("--price", action="append", default=[], metavar="CHIP=DOLLARS")
    flags = parser.parse_args(argv)
    with one_line_errors():
        prices, results, rows = parse_prices(flags.price), pathlib.Path(flags.results), []
        for model in flags.models.split(","):
            path = results / "scaling" / f"imagenet_{model}_strong.json"
            if not path.exists():
                raise UserError(
                    f"expected '{path}', found none: measure it by python -m "
                    f"crnn_jax.studies.scaling --mode=strong --name=imagenet_{model} "
                    f"--config={CONFIG}:{model},hardware=cpu --config.batch_size=8"
                )
            measured = json.loads(path.read_text())
            rows += predict(measured, model, prices)
        header = runs.header("cost", argv, assumptions=ASSUMPTIONS, rows=rows)
        runs.write_results(results / "cost_imagenet.json", header)


if __name__ == "__main__":
    main(sys.argv[1:])
