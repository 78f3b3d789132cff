"""What fewer steps cost: python -m crnn_jax.studies.anytime --workdir=runs/a

Evaluates a run as if its sequences ended after each of their T steps, and as if it stopped reading
an image once it is sure enough: accuracy, and the FLOPs of what has to be computed until then.
Writes RESULTS/anytime_NAME.json, .md and .png.
"""

import pathlib
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from crnn_jax.errors import OneLineParser, one_line_errors
from crnn_jax.flags import add_placement_flags, placement
from crnn_jax.models.heads import Output
from crnn_jax.models.trunk import Trunk
from crnn_jax.run import Run
from crnn_jax.studies import runs
from crnn_jax.studies.inside import through_recurrence
from crnn_jax.studies.module_calls import module_calls
from crnn_jax.studies.steps import check_steps, step_logits
from crnn_jax.studies.trained import made_with, open_classifier, run_name
from crnn_jax.train.watchdog import watched

THRESHOLDS = tuple(tenth / 10 for tenth in range(1, 10))


def flops_after(model: nn.Module, input_shape: Sequence[int], num_steps: int) -> list[float]:
    """Returns the FLOPs of an example that is read for 1, 2, ... T steps, asking after each.

    A part counts for the steps that are read where it works step by step: the recurrence, the
    readout, a trunk that reads frames. A trunk over the whole image counts in full, and the head
    once a step. So the last entry is above the FLOPs of the model, which asks once.

    Args:
      model: with one recurrence.
      input_shape: shape of an example: (H, W, C), or (F, H, W, C) for a clip.
      num_steps: T.
    """
    whole, each = 0.0, 0.0
    for call in module_calls(model, input_shape):
        if len(call.path) != 1:
            continue  # the model, or what is inside of a part
        if isinstance(call.module, Trunk) and call.arguments[0].shape[0] != num_steps:
            whole += call.flops
        elif call.path == ("head",) and call.arguments[0].ndim == 2:
            each += call.flops  # it reads one vector; LRCN's reads that of each step
        else:
            each += call.flops / num_steps
    return [whole + step * each for step in range(1, num_steps + 1)]


def evaluate(
    run: Run, split: str, thresholds: Sequence[float]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns (the task's summary after each step, that of an early exit at each threshold).

    An exit's summary has "mean_steps" too. An example leaves after the first step whose likeliest
    class has at least the threshold's probability, or after the last.
    """
    model, task, state = run.experiment.model, run.experiment.task, run.state
    config = run.config
    pipeline = run.dataset().pipeline(split, config.eval.batch_size, run.experiment.mesh)

    def hits(logits_BK: jax.Array, batch: Any) -> Any:
        return task.loss(Output(logits_BK), batch, train=False)[1]

    @partial(jax.jit, compiler_options=run.experiment.evaluation_options)
    def count(weights: Any, inputs: Any, first: jax.Array) -> Any:
        batch = pipeline.eval_assemble(inputs, first)
        pixels, batch = task.prepare(batch, state.norm, state.seed, train=False)
        passed = through_recurrence(model, weights, pixels)
        logits_BTK = step_logits(model, weights, passed).astype(jnp.float32)
        after = jax.vmap(lambda logits_BK: hits(logits_BK, batch), in_axes=1)(logits_BTK)
        confidence_BT = jnp.max(nn.softmax(logits_BTK), axis=-1)

        def leaving(threshold: jax.Array) -> tuple[Any, jax.Array]:
            sure_BT = (confidence_BT >= threshold).at[:, -1].set(True)
            step_B = jnp.argmax(sure_BT, axis=1)
            logits_BK = jnp.take_along_axis(logits_BTK, step_B[:, None, None], axis=1)[:, 0]
            counted_B = batch["weight_B"] > 0
            return hits(logits_BK, batch), jnp.sum(jnp.where(counted_B, step_B + 1, 0))

        return after, jax.vmap(leaving)(jnp.asarray(thresholds, jnp.float32))

    total: Any = None
    for inputs, first in watched(pipeline.eval_inputs(), run.config.mesh.stuck_seconds):
        part = count(run.weights, inputs, first)
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    after, (leaving, steps_read) = jax.device_get(total)

    def summary(sums: Any, index: int) -> dict[str, Any]:
        return task.summarize(jax.tree.map(lambda leaf: leaf[index], sums))

    exits = []
    for index, threshold in enumerate(thresholds):
        found = summary(leaving, index)
        mean_steps = float(steps_read[index]) / max(1, found["num_examples"])
        exits.append({"threshold": threshold, "mean_steps": mean_steps, **found})
    return [summary(after, step) for step in range(len(after.loss_sum))], exits


def main(argv: list[str]) -> None:
    """Writes the figures and the picture."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.anytime", description=__doc__)
    parser.add_argument("--workdir", required=True, help="folder of a run of crnn_jax.main")
    parser.add_argument("--split", default="test", help="test, validation or train")
    parser.add_argument("--name", default="", help="name of the files; default: from the config")
    parser.add_argument("--results", default="results", help="folder of the files")
    add_placement_flags(parser)
    flags = parser.parse_args(argv)
    with one_line_errors():
        run = open_classifier(
            flags.workdir, ("classification", "video"), placement=placement(flags)
        )
        check_steps(run.experiment.model, flags.workdir)
        after, exits = evaluate(run, flags.split, THRESHOLDS)
        flops = flops_after(run.experiment.model, run.experiment.input_shape, len(after))
        plain = run.experiment.describe()["flops_per_image"]
        slope = flops[1] - flops[0] if len(flops) > 1 else 0.0
        for row, cost in zip(after, flops, strict=True):
            row["flops_per_image"] = cost
        for row in exits:
            row["flops_per_image"] = flops[0] + slope * (row["mean_steps"] - 1)
        facts = {
            "run": run_name(run),
            "split": flags.split,
            "steps": len(after),
            "flops_per_image": plain,
            "after": [{"step": step, **row} for step, row in enumerate(after, 1)],
            "exits": exits,
        }
        name = flags.name or f"anytime_{run_name(run)}"
        path = pathlib.Path(flags.results) / f"{name}.json"
        runs.write_results(path, runs.header("anytime", argv, **made_with(), **facts))


if __name__ == "__main__":
    main(sys.argv[1:])
