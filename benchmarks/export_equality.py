"""How far exported files are from their models: every model, on real images.

    pip install -e ".[export]"
    python benchmarks/export_equality.py [--models cnn ...] [--examples 1000] [--write]

Each model has the size of configs/cifar10.py's small preset and random weights: those of its start,
perturbed, with the statistics of the norms and the scale of the scores set by real images, so that
classes are told apart as after a training. Its ONNX and StableHLO files read the first test images
of CIFAR-10 by 64, and one by one; what they return is compared with
`run.probabilities` in float32. Prints the largest difference of a probability, and exits with 1
where one is above 1e-5. --write appends a JSON line a model to
results/benchmarks/export_equality.jsonl.
"""

import argparse
import dataclasses
import importlib.metadata
import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import append

from crnn_jax.data.dataset import load_dataset
from crnn_jax.errors import one_line_errors
from crnn_jax.export.certify import in_float32
from crnn_jax.export.formats import format_of, load_file
from crnn_jax.export.metadata import describe
from crnn_jax.flags import resolve_config
from crnn_jax.models.recurrent.cells import CELLS
from crnn_jax.run import Run
from crnn_jax.train.experiment import build

FORMATS = ("onnx", "stablehlo")
LIMIT = 1e-5
BATCH, ALONE = 64, 1000  # images at a time, and how many are read one by one
SPREAD = 3.0  # standard deviation of a class score over images: no class is sure, none at chance

SETTINGS: dict[str, tuple[str, dict[str, str]]] = {
    name: (name, {}) for name in ("cnn", "rnn", "rnn_deep", "lrcn", "tsn", "sequencer")
}
SETTINGS |= {
    f"crnn, {cell}{', both directions' if both else ''}": (
        "crnn",
        {"model.cell": cell, "model.bidirectional": str(both)},
    )
    for cell in sorted(CELLS)
    for both in (False, True)
}
SETTINGS["crnn, gru, attention"] = ("crnn", {"model.cell": "gru", "model.readout": "attention"})


def make_run(name: str, images: np.ndarray) -> Run:
    """Returns a run of a setting in float32, whose weights fit the images."""
    model, overrides = SETTINGS[name]
    keys = {"mesh.data": "1", "eval.weights": "last", **overrides}
    config = resolve_config(f"configs/cifar10.py:{model}_small", keys)
    dataset = load_dataset(config)
    source = dataset.source
    experiment = build(config, source.input_shape, source.num_classes, dataset.num_train)
    state = experiment.init_state(dataset.norm())
    run = Run(pathlib.Path(name), experiment, state, source.class_names, {})
    return _spread_scores(_with_statistics(in_float32(_perturbed(run)), images), images)


def _perturbed(run: Run) -> Run:
    """Adds to each array a tenth of its own size, or of 1 where it is all zeros."""
    random = np.random.default_rng(0)

    def perturb(leaf: jax.Array) -> jax.Array:
        scale = 0.1 * (float(jnp.std(leaf)) or 1.0)
        return leaf + jnp.asarray(scale * random.normal(size=leaf.shape), leaf.dtype)

    params = jax.tree.map(perturb, run.state.params)
    return dataclasses.replace(run, state=dataclasses.replace(run.state, params=params))


def _with_statistics(run: Run, images: np.ndarray) -> Run:
    """Gives the norms the mean and variance of what they read of the images."""
    if not run.state.batch_stats:
        return run
    model, ready = run.experiment.model, run.prepare(jnp.asarray(images))

    @jax.jit
    def update(batch_stats: Any) -> Any:
        variables = {"params": run.state.params, "batch_stats": batch_stats}
        rngs = {name: jax.random.key(0) for name in ("dropout", "snippet")}
        return model.apply(variables, ready, train=True, mutable=["batch_stats"], rngs=rngs)[1]

    batch_stats = run.state.batch_stats
    for _ in range(30):  # a running mean
        batch_stats = update(batch_stats)["batch_stats"]
    state = dataclasses.replace(run.state, batch_stats=batch_stats)
    return dataclasses.replace(run, state=state, _programs={})


def _spread_scores(run: Run, images: np.ndarray) -> Run:
    """Scales and shifts the head so that each class score has mean 0 and deviation `SPREAD`."""
    head = run.state.params["head"]["dense"]
    model: Any = run.experiment.model
    scores = jax.jit(lambda weights, pixels: model.apply(weights, pixels, train=False).logits_BK)
    score_BK = scores(run.weights, run.prepare(jnp.asarray(images)))
    scale = model.head.logit_scale
    factor_K = SPREAD / jnp.std(score_BK, axis=0)
    mean_K = jnp.mean(score_BK, axis=0) / scale
    dense = {"kernel": head["kernel"] * factor_K[None], "bias": (head["bias"] - mean_K) * factor_K}
    params = {**run.state.params, "head": {"dense": dense}}
    state = dataclasses.replace(run.state, params=params)
    return dataclasses.replace(run, state=state, _programs={})


def differences(run: Run, images: np.ndarray, folder: pathlib.Path) -> dict[str, dict[str, float]]:
    """Returns {format: {"1": the largest difference of a probability one by one, "64": ...}}."""
    expected = run.probabilities(images)
    found: dict[str, dict[str, float]] = {}
    for name in FORMATS:
        path, form = folder / f"model.{name}", format_of(name)
        form.save(form.make(run), path, describe(run))
        apply = load_file(path).apply
        found[name] = {
            "1": _largest(apply, images[:ALONE], expected[:ALONE], 1),
            str(BATCH): _largest(apply, images, expected, BATCH),
        }
    return found


def _largest(
    apply: Callable[[np.ndarray], Any], images: np.ndarray, expected: np.ndarray, size: int
) -> float:
    # `apply` fills the last call up, to one of few sizes.
    parts = [apply(images[i : i + size])["probability"] for i in range(0, len(images), size)]
    found = np.concatenate(parts)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max())


def real_images(count: int) -> np.ndarray:
    """Returns the first test images of CIFAR-10, uint8.

    Raises:
      UserError: the data is not here.
    """
    split = load_dataset(resolve_config("configs/cifar10.py:cnn_small", {})).source.test
    examples: Any = split.read_many(range(count))
    return np.stack([example["image"] for example in examples])


def main() -> None:
    """Compares the models named, prints the table and says whether all are equal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    with one_line_errors():
        images = real_images(flags.examples)
    packages = {name: importlib.metadata.version(name) for name in ("onnx", "onnxruntime")}
    worst = 0.0
    for name in flags.models:
        run = make_run(name, images[: 4 * BATCH])
        largest_B = run.probabilities(images).max(axis=1)
        with tempfile.TemporaryDirectory() as folder:
            found = differences(run, images, pathlib.Path(folder))
        worst = max([worst, *(each for of in found.values() for each in of.values())])
        cells = [f"{form} {size}: {x:.1e}" for form, of in found.items() for size, x in of.items()]
        mean, least = float(largest_B.mean()), float(largest_B.min())
        print(f"{name:28} {', '.join(cells)}; likeliest class {mean:.2f}", flush=True)
        if flags.write:
            record = {"model": name, "overrides": SETTINGS[name][1], "examples": len(images)}
            record |= {"examples_alone": min(ALONE, len(images)), "largest_difference": found}
            record |= {"likeliest_class": {"mean": mean, "least": least}, "packages": packages}
            append("export_equality", record)
    print(f"the largest difference is {worst:.1e}, expected at most {LIMIT:.0e}")
    sys.exit(not worst <= LIMIT)


if __name__ == "__main__":
    main()
