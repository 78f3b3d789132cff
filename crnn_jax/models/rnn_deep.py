"""The deep RNN: recurrent layers sweep over a grid of patches in all four directions."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from crnn_jax.models.heads import Classifier, Output
from crnn_jax.models.recurrent import Recurrent
from crnn_jax.models.rnn import read_patches

Array = jax.Array


def cut_patches(map_BHWC: Array, size: int) -> Array:
    """Returns the grid of `size` x `size` patches, (B, ceil(H / size), ceil(W / size), D).

    D = size * size * C; sides that `size` does not divide are padded as `read_patches` says.
    """
    batch, height, width, _ = map_BHWC.shape
    patch_BTD = read_patches(map_BHWC, size)
    return patch_BTD.reshape(batch, -(-height // size), -(-width // size), -1)


class RNNDeep(nn.Module):
    """Stacked bidirectional sweeps over the columns, then the rows, of a grid of patches.

    Visin et al. 2015, "ReNet: A Recurrent Neural Network Based Alternative to Convolutional
    Networks": a layer cuts its input into patches, reads every column of them in both directions,
    then every row of the result, so that each position has seen the whole grid. No convolution.
    Unlike there, the mean over the last grid, not all of it, is classified, and by one fully
    connected layer; dropout is before that layer alone.

    Attributes:
      hidden_units: N of each direction, in every layer.
      patch_sizes: side of a layer's patches, one number a layer; the first are of pixels.
    The other fields: `Recurrent` and `Classifier`.
    """

    cell: str
    hidden_units: int
    patch_sizes: Sequence[int]
    implementation: str
    dropout: float
    logit_scale: float
    num_classes: int
    dtype: Any

    @nn.compact
    def __call__(self, image_BHWC: Array, *, train: bool) -> Output:
        """Returns `logits_BK` of normalised float images."""
        grid_BHWD = image_BHWC
        for layer, size in enumerate(self.patch_sizes):
            grid_BHWD = cut_patches(grid_BHWD, size)
            column_BWHD = self._sweep(grid_BHWD.swapaxes(1, 2), f"columns_{layer}")
            grid_BHWD = self._sweep(column_BWHD.swapaxes(1, 2), f"rows_{layer}")
        head = Classifier(self.num_classes, self.dropout, self.logit_scale, name="head")
        return Output(head(jnp.mean(grid_BHWD, axis=(1, 2)), train=train))

    def _sweep(self, line_BLTD: Array, name: str) -> Array:
        """Returns the states (B, L, T, 2N) of each of the L lines, read in both directions."""
        batch, num_lines, num_steps, _ = line_BLTD.shape
        recurrent = Recurrent(
            self.cell, self.hidden_units, 1, True, self.implementation, False, self.dtype, name=name
        )
        # Lines are examples to the layer: its matmuls are L times as tall.
        state_NTD, _ = recurrent(line_BLTD.reshape(batch * num_lines, num_steps, -1))
        return state_NTD.reshape(batch, num_lines, num_steps, -1)
