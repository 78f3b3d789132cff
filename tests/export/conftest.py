"""Runs with random weights of tiny models: nothing is trained."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.flags import resolve_config
from crnn_jax.run import Run
from crnn_jax.train.experiment import build
from crnn_jax.train.state import TrainState

NUM_CLASSES = 5


def _draw(tree, seed):
    """Returns random numbers of the shapes of a tree; those of a kernel in its usual range."""
    random = np.random.default_rng(seed)

    def leaf(path, shape):
        name, noise = path[-1].key, random.normal(size=shape.shape)
        if name.startswith("kernel"):
            value = noise / math.sqrt(math.prod(shape.shape[:-1]))
        elif name in ("var", "scale"):
            value = 1.0 + 0.2 * np.tanh(noise)
        else:
            value = 0.3 * noise
        return jnp.asarray(value, jnp.float32)

    return jax.tree_util.tree_map_with_path(leaf, tree)


@pytest.fixture
def random_run(tiny, tmp_path):
    """Returns make(model, shape=(9, 7, 3), **overrides): a run of digits that was never trained."""

    def make(model="crnn", shape=(9, 7, 3), **overrides):
        names = tuple(f"class {index}" for index in range(NUM_CLASSES))
        if model == "reseg":
            keys = {"model.width": "4", "model.hidden_units": "4", "mesh.data": "1"}
            config = resolve_config("configs/digit_scenes.py:reseg", keys)
        else:
            config = tiny(model, mesh__data=1, **overrides)
        config.eval.weights = "last"
        experiment = build(config, shape, NUM_CLASSES, 100)
        abstract = experiment.abstract_state()
        channels = shape[-1]
        state = TrainState(
            step=jnp.int32(12),
            seed=jnp.uint32(0),
            norm={
                "mean_C": jnp.linspace(90.0, 130.0, channels),
                "std_C": jnp.linspace(50.0, 70.0, channels),
            },
            params=_draw(abstract.params, 0),
            batch_stats=_draw(abstract.batch_stats, 1),
            opt_state=(),
            ema=None,
        )
        facts = {"input_shape": list(shape), "class_names": list(names), "num_train": 100}
        return Run(tmp_path / "run", experiment, state, names, facts)

    return make


@pytest.fixture
def expected():
    """Returns predictions(run, pixels): by the model itself."""

    def predictions(run, pixels):
        ready = run.prepare(jnp.asarray(pixels))
        apply = jax.jit(lambda pixels: run.experiment.model.apply(run.weights, pixels, train=False))
        output = apply(ready)
        return jax.device_get(run.task.predictions(output))

    return predictions


@pytest.fixture
def images():
    """Returns make(count, shape): uint8 noise."""

    def make(count, shape=(9, 7, 3)):
        return np.random.default_rng(count).integers(0, 256, (count, *shape), np.uint8)

    return make


@pytest.fixture
def reload(tmp_path):
    """Returns round_trip(format, run, **kwargs): the run as the file of it that is loaded again."""

    def round_trip(form, run, **kwargs):
        from crnn_jax.export.formats import format_of, load_file
        from crnn_jax.export.metadata import describe

        path = tmp_path / f"model.{form}"
        module = format_of(form)
        module.save(module.make(run, **kwargs), path, describe(run))
        return load_file(path)

    return round_trip
