"""Accuracy on worse images: python -m crnn_jax.studies.robustness --workdir=A [--workdir=B ...]

Noise, blur, contrast, brightness, shift and JPEG, each in five strengths (crnn_jax/studies/
corruptions.py says their sizes), on the first --num test images, several runs side by side.
Writes RESULTS/robustness_NAME.json, .md and .png.
"""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.flags import add_placement_flags, placement
from crnn_jax.run import Run
from crnn_jax.studies import runs
from crnn_jax.studies.corruptions import CORRUPTIONS, STRENGTHS, corrupt, sizes_of
from crnn_jax.studies.trained import made_with, open_classifier, run_name
from crnn_jax.train.step import make_eval_step
from crnn_jax.train.watchdog import watched

CLEAN = ("clean", 0)
KINDS = (CLEAN, *((name, strength) for name in CORRUPTIONS for strength in STRENGTHS))


def evaluate(run: Run, num: int) -> dict[tuple[str, int], dict[str, Any]]:
    """Returns the task's summary of the first `num` test images for each of `KINDS`."""
    task, config = run.experiment.task, run.config
    pipeline = run.dataset().pipeline("test", config.eval.batch_size, run.experiment.mesh)
    assemble = jax.jit(pipeline.eval_assemble)
    count = _counter(run)
    totals = {kind: task.empty() for kind in KINDS}
    for inputs, first in watched(pipeline.eval_inputs(), config.mesh.stuck_seconds):
        if int(first) >= num:
            break
        batch = jax.device_get(assemble(inputs, first))
        place_B = int(first) + np.arange(len(batch["weight_B"]))
        batch["weight_B"] = np.where(place_B < num, batch["weight_B"], 0)
        for kind in KINDS:
            worse = {**batch, task.pixels: _worse(batch[task.pixels], *kind, place_B)}
            totals[kind] = count(totals[kind], worse)
    return {kind: task.summarize(sums) for kind, sums in totals.items()}


def _worse(image_BHWC: np.ndarray, name: str, strength: int, place_B: np.ndarray) -> np.ndarray:
    if (name, strength) == CLEAN:
        return image_BHWC
    pairs = zip(image_BHWC, place_B, strict=True)
    return np.stack([corrupt(image, name, strength, int(place)) for image, place in pairs])


def _counter(run: Run) -> Callable[[Any, Any], Any]:
    """Returns count(totals, batch) -> totals, with the weights that the run reports."""
    config = run.config
    step = make_eval_step(
        run.experiment.model,
        run.experiment.task,
        lambda inputs, first_index: inputs,
        weights=config.eval.weights,
        ema_decay=config.optim.ema_decay,
        tta="none",
    )
    program = jax.jit(
        lambda state, totals, batch: step(state, totals, batch, jnp.uint32(0))[0],
        compiler_options=run.experiment.evaluation_options,
    )
    return lambda totals, batch: program(run.state, totals, batch)


def describe(run: Run, name: str, num: int) -> dict[str, Any]:
    """Returns what the files say of one run: {"run", "rows"}, a row for each of `KINDS`."""
    height, width = run.experiment.input_shape[:2]
    rows = []
    for (corruption, strength), summary in evaluate(run, num).items():
        size = sizes_of(corruption, height, width)[strength - 1] if strength else None
        rows.append({"corruption": corruption, "strength": strength, "size": size, **summary})
    return {"run": name, "model": run.config.model.name, "rows": rows}


def names_of(opened: list[Run]) -> list[str]:
    """Returns a name for each run: data and model, or its folder's name where these are equal."""
    names = [run_name(run) for run in opened]
    if len(set(names)) == len(names):
        return names
    return [run.workdir.resolve().name for run in opened]


def main(argv: list[str]) -> None:
    """Writes the figures and the picture."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.robustness", description=__doc__)
    parser.add_argument(
        "--workdir",
        required=True,
        action="append",
        help="folder of a run of crnn_jax.main; several times",
    )
    parser.add_argument("--num", type=int, default=2000, help="images of the test split")
    parser.add_argument("--name", default="", help="name of the files; default: from the configs")
    parser.add_argument("--results", default="results", help="folder of the files")
    add_placement_flags(parser)
    flags = parser.parse_args(argv)
    with one_line_errors():
        runs.at_least_one("--num", flags.num)
        opened = [open_classifier(workdir, placement=placement(flags)) for workdir in flags.workdir]
        shapes = {run.experiment.input_shape[:2] for run in opened}
        if len(shapes) > 1:
            raise UserError(
                "--workdir expects runs on images of one size, since the strengths depend on it; "
                f"found {' and '.join(map(str, sorted(shapes)))}"
            )
        found = [
            describe(run, name, flags.num)
            for run, name in zip(opened, names_of(opened), strict=True)
        ]
        facts = {
            "corruptions": {
                name: {"sizes": sizes_of(name, *shapes.copy().pop()), "unit": corruption.unit}
                for name, corruption in CORRUPTIONS.items()
            },
            "runs": found,
        }
        name = flags.name or f"robustness_{'_'.join(dict.fromkeys(map(run_name, opened)))}"
        path = pathlib.Path(flags.results) / f"{name}.json"
        runs.write_results(path, runs.header("robustness", argv, **made_with(), **facts))


if __name__ == "__main__":
    main(sys.argv[1:])
