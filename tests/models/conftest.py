"""Random variables for the shapes that a model has, drawn by numpy: nothing is compiled."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def _draw(model, *args, seed=0, **kwargs):
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *args, **kwargs))
    random = np.random.default_rng(seed)

    def leaf(path, shape):
        name, noise = path[-1].key, random.normal(size=shape.shape)
        if name.startswith("kernel"):
            value = noise / math.sqrt(math.prod(shape.shape[:-1]))
        else:  # biases and statistics, none of them zero; variances and scales positive
            value = 1.0 + 0.2 * np.tanh(noise) if name in ("var", "scale") else 0.3 * noise
        return jnp.asarray(value, shape.dtype)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


@pytest.fixture(scope="session")
def draw():
    """draw(model, *args, seed=0, **kwargs): variables like model.init(key, *args, **kwargs)."""
    return _draw
