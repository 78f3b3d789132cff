"""Batches of noise, to measure a step without any data."""

import jax
import numpy as np
from jax.sharding import Mesh

from crnn_jax import mesh as mesh_lib
from crnn_jax.data.fields import Fields


def synthetic_batch(
    fields: Fields, num_classes: int, batch_size: int, mesh: Mesh
) -> dict[str, jax.Array]:
    """Returns a global batch as a pipeline would place it: noise, and classes in turn.

    Args:
      fields: what the examples have; all but pixels hold classes.
      num_classes: K.
      batch_size: global.
      mesh: that the batch is split over.
    """
    rows = mesh_lib.process_rows(batch_size)
    index_B = np.arange(batch_size, dtype=np.int32)[rows]
    rng = np.random.default_rng(index_B[0])
    local: dict[str, np.ndarray] = {
        "weight_B": np.ones(len(index_B), np.float32),
        "epoch_B": np.zeros_like(index_B),
        "example_B": index_B,
    }
    for name, field in fields.items():
        shape = (len(index_B), *field.shape)
        if field.kind == "pixels":
            local[name] = rng.integers(0, 256, shape, np.uint8)
        else:
            class_B = (index_B % num_classes).reshape(-1, *[1] * len(field.shape))
            local[name] = np.broadcast_to(class_B, shape).astype(field.dtype)
    return mesh_lib.place(local, mesh_lib.batch_sharding(mesh))
