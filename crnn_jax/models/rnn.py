"""The RNN: a recurrent layer reads the pixels themselves, row by row or patch by patch."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from crnn_jax.models.heads import Classifier, Output
from crnn_jax.models.recurrent import recurrent_of

Array = jax.Array
TOKENS = ("rows", "patches")  # what a step reads


def read_rows(image_BHWC: Array) -> Array:
    """Returns feature_BTD with T = H steps of D = W * C, from the top row to the bottom one."""
    return image_BHWC.reshape(*image_BHWC.shape[:2], -1)


def read_patches(image_BHWC: Array, size: int) -> Array:
    """Returns feature_BTD with a step for each `size` x `size` patch, in raster order.

    T = ceil(H / size) * ceil(W / size) and D = size * size * C. Sides that `size` does not divide
    are padded with zeros (the mean colour of normalised images) at the bottom and on the right, so
    that no pixel is lost.
    """
    batch, height, width, channels = image_BHWC.shape
    rows, columns = -(-height // size), -(-width // size)
    edges = ((0, 0), (0, rows * size - height), (0, columns * size - width), (0, 0))
    cells = jnp.pad(image_BHWC, edges).reshape(batch, rows, size, columns, size, channels)
    return cells.swapaxes(2, 3).reshape(batch, rows * columns, size * size * channels)


class RNN(nn.Module):
    """Recurrent layers over image rows or patches; the last state is classified.

    The paper's second row, "RNN": Eq. 1 (or a GRU, LSTM) without any convolution. A video model
    reads frames; a still image has none, so its rows or patches take their place.

    Attributes:
      tokens: 'rows' (`read_rows`) or 'patches' (`read_patches`).
      patch_size: side of a patch in pixels.
    The other fields: `Recurrent` and `Classifier`.
    """

    cell: str
    hidden_units: int
    num_recurrent_layers: int
    bidirectional: bool
    implementation: str
    remat: bool
    dropout: float
    logit_scale: float
    tokens: str
    patch_size: int
    num_classes: int
    dtype: Any

    @nn.compact
    def __call__(self, image_BHWC: Array, *, train: bool) -> Output:
        """Returns `logits_BK` of normalised float images."""
        if self.tokens == "rows":
            feature_BTD = read_rows(image_BHWC)
        else:
            feature_BTD = read_patches(image_BHWC, self.patch_size)
        _, last_BN = recurrent_of(self)(feature_BTD)
        head = Classifier(self.num_classes, self.dropout, self.logit_scale, name="head")
        return Output(head(last_BN, train=train))
