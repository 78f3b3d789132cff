"""Evaluates a run's checkpoint: python -m crnn_jax.evaluate --workdir=runs/a [--split=test]

Prints one line, `test accuracy 0.9312 (9312/10000)`; every example of the split counts once. With
--tta=mirror or --tta=mirror_shift (test-time augmentation: the logits of several views of an image
are averaged) it is `test accuracy with tta=mirror 0.9345 (9345/10000)`.
"""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from crnn_jax import distributed
from crnn_jax.compiler import compiler_options
from crnn_jax.data.pipeline import Pipeline
from crnn_jax.errors import OneLineParser, one_line_errors
from crnn_jax.flags import add_process_flags
from crnn_jax.mesh import replicated
from crnn_jax.metrics import Classification as Metrics
from crnn_jax.train.experiment import Experiment, build, enable_compile_cache
from crnn_jax.train.state import TrainState
from crnn_jax.train.step import make_eval_step
from crnn_jax.validation import TTA


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """The evaluation of one split, compiled once; call it with a state."""

    pipeline: Pipeline
    step: Callable[..., Metrics]
    empty: Metrics
    skips: bool  # unreadable images may be left out

    def __call__(self, state: TrainState) -> dict[str, Any]:
        """Returns {"loss", "accuracy", "num_correct", "num_examples"}; each example counts once."""
        totals = self.empty
        for inputs, first_index in self.pipeline.eval_inputs():
            totals = self.step(state, totals, inputs, jnp.uint32(first_index))
        count, expected = int(totals.num_examples), self.pipeline.num_examples
        # An accuracy over another number of examples is another number: never report it.
        if count != expected and not (self.skips and count < expected):
            raise AssertionError(f"evaluated {count} examples of a split of {expected}")
        return {
            **totals.compute(),
            "num_correct": int(totals.num_correct),
            "num_examples": count,
        }


def make_evaluator(experiment: Experiment, pipeline: Pipeline, tta: str = "none") -> Evaluator:
    """Returns the evaluator of a pipeline's split; `config.eval.weights` says of which weights.

    `tta`: of test-time augmentation, as `config.eval.tta`, which says what a run reports beside the
    plain accuracy.
    """
    config = experiment.config
    step = make_eval_step(
        experiment.model,
        experiment.task,
        pipeline.eval_assemble,
        mesh=experiment.mesh,
        weights=config.eval.weights,
        ema_decay=config.optim.ema_decay,
        tta=tta,
    )
    empty = jax.jit(Metrics.empty, out_shardings=replicated(experiment.mesh))()
    program = jax.jit(step, compiler_options=compiler_options(onednn=False))
    return Evaluator(pipeline, program, empty, config.data.skip_corrupt)


def result_line(split: str, metrics: dict[str, Any], tta: str = "none") -> str:
    """Returns "test accuracy 0.9312 (9312/10000)", or "test accuracy with tta=mirror ..."."""
    counts = f"({metrics['num_correct']}/{metrics['num_examples']})"
    views = "" if tta == "none" else f" with tta={tta}"
    return f"{split} accuracy{views} {metrics['accuracy']:.4f} {counts}"


def main(argv: list[str]) -> None:
    """Prints the accuracy of a run on a split."""
    parser = OneLineParser(prog="python -m crnn_jax.evaluate", description=__doc__)
    parser.add_argument("--workdir", required=True, help="of a run of crnn_jax.main")
    parser.add_argument("--split", default="test", help="test, validation or train")
    parser.add_argument("--step", type=int, help="of the checkpoint; default: the latest")
    parser.add_argument("--tta", choices=TTA, default="none", help="test-time augmentation")
    add_process_flags(parser)
    flags = parser.parse_args(argv)
    with one_line_errors():
        distributed.start(flags.coordinator, flags.num_processes, flags.process_id)
        with distributed.ending_together():
            _evaluate(flags.workdir, flags.split, flags.step, flags.tta)


def _evaluate(workdir: str, split: str, step: int | None, tta: str) -> None:
    from crnn_jax.checkpoint import restore_run
    from crnn_jax.data.dataset import load_dataset
    from crnn_jax.workdir import load_config

    config = load_config(workdir)
    # This machine may have other devices than the training's.
    config.mesh.update(data=-1, fsdp=1, model=1)
    enable_compile_cache(config)
    dataset = load_dataset(config)
    experiment = build(
        config, dataset.source.image_shape, dataset.source.num_classes, dataset.num_train
    )
    state = restore_run(workdir, experiment.abstract_state(), step)
    pipeline = dataset.pipeline(split, config.eval.batch_size, experiment.mesh)
    metrics = make_evaluator(experiment, pipeline, tta)(state)
    distributed.say(result_line(split, metrics, tta))


if __name__ == "__main__":
    main(sys.argv[1:])
