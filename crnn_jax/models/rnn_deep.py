"""The deep RNN: recurrent layers sweep over a grid of patches in all four directions."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from crnn_jax.errors import UserError
from crnn_jax.models.frames import is_clip
from crnn_jax.models.heads import Output
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


def sweep(recurrent: Recurrent, line_BLTD: Array) -> Array:
    """Returns the states (B, L, T, N) of each of the L lines; N as `recurrent` has it."""
    batch, num_lines, num_steps, _ = line_BLTD.shape
    # Lines are examples to the layer: its matmuls are L times as tall.
    state_NTD, _ = recurrent(line_BLTD.reshape(batch * num_lines, num_steps, -1))
    return state_NTD.reshape(batch, num_lines, num_steps, -1)


def sweep_grids(
    columns: Sequence[Recurrent],
    rows: Sequence[Recurrent],
    patch_sizes: Sequence[int],
    grid_BHWD: Array,
) -> Array:
    """Returns the last grid of a stack of layers, each over the patches of the grid below.

    A layer reads every column of its patches, then every row of what it found.

    Args:
      columns: what reads each layer's columns.
      rows: what reads each layer's rows.
      patch_sizes: side of each layer's patches; a side of H becomes ceil(H / size).
      grid_BHWD: float; pixels or a map.
    """
    for column, row, size in zip(columns, rows, patch_sizes, strict=True):
        grid_BHWD = cut_patches(grid_BHWD, size)
        column_BWHD = sweep(column, grid_BHWD.swapaxes(1, 2))
        grid_BHWD = sweep(row, column_BWHD.swapaxes(1, 2))
    return grid_BHWD


class RNNDeep(nn.Module):
    """Stacked bidirectional sweeps over the columns, then the rows, of a grid of patches.

    Visin et al. 2015, "ReNet: A Recurrent Neural Network Based Alternative to Convolutional
    Networks": a layer cuts its input into patches, reads every column of them in both directions,
    then every row of the result, so that each position has seen the whole grid. No convolution.
    Unlike there, the mean over the last grid, not all of it, is classified, and by one fully
    connected layer; dropout is before that layer alone.

    Attributes:
      columns: the recurrent layers that read the columns, a bidirectional one for each grid.
      rows: those that read the rows.
      head: maps the mean over the last grid, (B, 2N), to logits (B, K).
      patch_sizes: side of a layer's patches, one number a layer; the first are of pixels.
    """

    columns: tuple[Recurrent, ...]
    rows: tuple[Recurrent, ...]
    head: nn.Module
    patch_sizes: Sequence[int]

    def __call__(self, pixels: Array, *, train: bool) -> Output:
        """Returns `logits_BK` of normalised float images (B, H, W, C).

        Raises:
          UserError: the images are clips.
        """
        if is_clip(pixels):
            raise UserError(
                "config key 'model.name' is 'rnn_deep', which expects still images, found clips of "
                f"{pixels.shape[1]} frames: choose 'rnn', 'lrcn', 'tsn', 'crnn' or 'cnn'"
            )
        grid_BHWD = sweep_grids(self.columns, self.rows, self.patch_sizes, pixels)
        return Output(self.head(jnp.mean(grid_BHWD, axis=(1, 2)), train=train))
