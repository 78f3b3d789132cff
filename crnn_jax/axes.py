"""Arrays of other ranks side by side, on purpose: NumPy's rank promotion hides a wrong axis."""

import jax
import jax.numpy as jnp


def along_last(vector_C: jax.Array, array: jax.Array) -> jax.Array:
    """Returns the vector as (1, ..., 1, C), of the array's rank: one value a channel."""
    return jnp.expand_dims(vector_C, tuple(range(array.ndim - 1)))
