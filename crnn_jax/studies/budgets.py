"""What each row of Table 1 may spend: a config a row, and what is matched between the rows."""

import dataclasses
import functools
import math
from collections.abc import Iterable

from ml_collections import ConfigDict

from crnn_jax.config import override
from crnn_jax.errors import UserError
from crnn_jax.flags import resolve_config
from crnn_jax.studies.runs import Points, needs_accuracy
from crnn_jax.validation import validate

ROWS = ("cnn", "rnn", "rnn_deep", "lrcn", "tsn", "crnn")
REFERENCE = "crnn"  # the row that the others are matched to
TOLERANCE = 0.05
BUDGETS = {
    "full": "each row's own preset and epochs; nothing is matched",
    "equal_flops": "each row's preset with as many epochs as make its training FLOPs "
    "(3 x forward FLOPs x images) those of the CRNN's preset, within 5%",
    "equal_params": "each row's preset and epochs, with the width that makes its parameters those "
    "of the CRNN's preset, within 5%",
    "cpu": "each row's preset sized for a CPU (ROW_small) and its epochs; nothing is matched",
    "cpu_long": "each row's preset ROW_medium, at most 4e14 training FLOPs, airbench94's budget",
}
SUFFIXES = {"cpu": "_small", "cpu_long": "_medium"}  # how a budget's presets end


@dataclasses.dataclass(frozen=True)
class Plan:
    """The configs of a budget's rows.

    Attributes:
      points: row -> config with seed 0.
      matched: "training_flops", "parameters" or "", what the rows have in common.
      target: its value in the CRNN's preset; 0 for "".
    """

    points: Points
    matched: str
    target: float


def make_plan(
    config_file: str, budget: str, rows: Iterable[str], overrides: dict[str, str]
) -> Plan:
    """Returns the configs of `rows` under one of `BUDGETS`.

    Args:
      config_file: such as "configs/cifar10.py".
      budget: a key of `BUDGETS`.
      rows: some of `ROWS`.
      overrides: dotted keys and values, applied to every row's preset.

    Raises:
      UserError: a mistake in a config, another task than those judged by accuracy, or a row that
        cannot be matched within 5%.
    """
    suffix = SUFFIXES.get(budget, "")
    points = {row: resolve_config(f"{config_file}:{row}{suffix}", overrides) for row in rows}
    reference = resolve_config(f"{config_file}:{REFERENCE}{suffix}", overrides)
    needs_accuracy(reference)
    if budget == "equal_flops":
        target = training_flops(reference)
        matched = {row: match_flops(row, config, target) for row, config in points.items()}
        return Plan(matched, "training_flops", target)
    if budget == "equal_params":
        target = _describe(reference)["parameters"]
        matched = {row: _match_parameters(row, config, target) for row, config in points.items()}
        return Plan(matched, "parameters", target)
    return Plan(points, "", 0.0)


def training_flops(config: ConfigDict) -> float:
    """Returns 3 x forward FLOPs x images of a run: the backward pass counts as two forwards."""
    facts = _describe(config)
    return 3.0 * facts["flops_per_image"] * facts["steps"] * config.batch_size


def _describe(config: ConfigDict) -> dict[str, int]:
    """Returns parameters, forward FLOPs per image and steps of a run, which is not started."""
    from crnn_jax.data.dataset import load_dataset
    from crnn_jax.train.experiment import build

    dataset = load_dataset(config)
    source = dataset.source
    experiment = build(config, source.input_shape, source.num_classes, dataset.num_train)
    return {**experiment.describe(), "steps": experiment.total_steps}


def match_flops(row: str, config: ConfigDict, target: float) -> ConfigDict:
    """Returns the config with as many steps as make its training FLOPs `target`.

    Raises:
      UserError: no number of steps comes within 5%.
    """
    config = ConfigDict(config.to_dict())
    per_step = 3.0 * _describe(config)["flops_per_image"] * config.batch_size
    override(config, "duration", f"{max(1, round(target / per_step))} steps")
    _check_match(row, "training FLOPs", training_flops(config), target)
    return config


def _match_parameters(row: str, config: ConfigDict, target: float) -> ConfigDict:
    """Parameters grow as the width to a power between 1 and 2: a few corrections are enough."""
    config = ConfigDict(config.to_dict())
    key = "width" if "width" in config.model else "hidden_units"

    @functools.cache
    def parameters(width: int) -> int:
        config.model[key] = width
        validate(config)
        return _describe(config)["parameters"]

    width, tried = config.model[key], []
    while width not in tried:
        tried.append(width)
        ratio = target / parameters(width)
        if abs(ratio - 1) <= TOLERANCE / 5:
            break
        width = max(1, round(width * math.sqrt(ratio)))
    best = min(tried, key=lambda width: abs(parameters(width) - target))
    _check_match(row, "parameters", parameters(best), target)
    config.model[key] = best
    return config


def _check_match(row: str, what: str, found: float, target: float) -> None:
    if abs(found / target - 1) > TOLERANCE:
        raise UserError(
            f"row '{row}': expected {what} within {TOLERANCE:.0%} of the {REFERENCE}'s "
            f"{target:,.0f}, found {found:,.0f} at the nearest setting: leave the row out with "
            "--rows, or choose another preset"
        )
