"""The order in which a recurrent layer reads its steps: as they come, or shuffled.

What a model loses with its steps shuffled is what their order was worth to it
(studies/recurrence.py). Parameters and FLOPs are those of the natural order.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
STEP_ORDERS = ("natural", "fixed", "per_image")


def fixed_order(num_steps: int) -> np.ndarray:
    """Returns a permutation of 0..T-1 that is the same in every run, int of shape (T,).

    With four steps or more no two neighbours stay neighbours; with fewer, the last one is
    read first.
    """
    if num_steps < 4:
        return np.roll(np.arange(num_steps), 1)
    draws = (np.random.RandomState(draw).permutation(num_steps) for draw in itertools.count())
    return next(order_T for order_T in draws if np.abs(np.diff(order_T)).min() > 1)


def order_steps(feature_BTD: Array, step_order: str, key_B: Array | None = None) -> Array:
    """Returns the steps in the order that they are to be read in.

    Args:
      feature_BTD: any dtype.
      step_order: 'natural' (as they come), 'fixed' (`fixed_order`) or 'per_image' (a uniformly
        random permutation of each example's own).
      key_B: typed keys, one an example, which 'per_image' draws from. None: all examples have one
        order, as where a file is predicted that is no example of a data set.
    """
    if step_order == "natural":
        return feature_BTD
    batch, num_steps, _ = feature_BTD.shape
    if step_order == "fixed":
        return feature_BTD[:, fixed_order(num_steps)]
    if key_B is None:
        key_B = jnp.broadcast_to(jax.random.key(0, impl="threefry2x32"), batch)
    bits_BT = jax.vmap(lambda key: jax.random.bits(key, (num_steps,), jnp.uint32))(key_B)
    order_BT = jnp.argsort(bits_BT, axis=1)
    return jnp.take_along_axis(feature_BTD, order_BT[..., None], axis=1)
