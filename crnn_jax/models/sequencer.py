"""Sequencer2D: LSTMs over the columns and the rows of an image take the place of self-attention.

Tatsunami and Taki 2022, "Sequencer: Deep LSTM for Image Classification". A grid of patches runs
through blocks as those of a vision transformer; what mixes the positions is a BiLSTM2D.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from crnn_jax.errors import UserError
from crnn_jax.models.frames import is_clip
from crnn_jax.models.heads import Output
from crnn_jax.models.recurrent import Recurrent
from crnn_jax.models.rnn_deep import cut_patches, sweep

Array = jax.Array

EPSILON = 1e-6  # LayerNorm's, as in timm: published weights expect it


class BiLSTM2D(nn.Module):
    """A bidirectional layer over the columns, another over the rows, and a linear layer of both.

    FC(concatenate(BiLSTM(columns of X), BiLSTM(rows of X))). Both read X, unlike in `rnn_deep`,
    whose rows read what the columns found. N = C / 4, so that what is concatenated is as wide as X.
    `cell` may be another than the LSTM.
    """

    cell: str
    implementation: str
    dtype: Any

    @nn.compact
    def __call__(self, grid_BHWC: Array) -> Array:
        """Returns a grid of the same shape, in `dtype`."""
        num_channels = grid_BHWC.shape[-1]
        columns, rows = (
            Recurrent(
                self.cell,
                max(1, num_channels // 4),
                num_recurrent_layers=1,
                bidirectional=True,
                implementation=self.implementation,
                remat=False,
                dtype=self.dtype,
                name=name,
            )
            for name in ("columns", "rows")
        )
        column_BHWN = sweep(columns, grid_BHWC.swapaxes(1, 2)).swapaxes(1, 2)
        both_BHWN = jnp.concatenate([column_BHWN, sweep(rows, grid_BHWC)], axis=-1)
        return nn.Dense(num_channels, dtype=self.dtype, name="fuse")(both_BHWN)


class Block(nn.Module):
    """X + BiLSTM2D(norm(X)), then X + MLP(norm(X)) over the channels of each position.

    Attributes:
      mlp_ratio: width of the MLP's hidden layer / C.
      stochastic_depth: the probability that an example skips what is added, at each of both
        (Huang et al. 2016, "Deep Networks with Stochastic Depth").
    The other fields: `BiLSTM2D`.
    """

    mlp_ratio: float
    stochastic_depth: float
    cell: str
    implementation: str
    dtype: Any

    @nn.compact
    def __call__(self, grid_BHWC: Array, *, train: bool) -> Array:
        """Returns a grid of the same shape and dtype; `stochastic_depth` draws from 'dropout'."""
        num_channels = grid_BHWC.shape[-1]
        # One draw an example, at each call.
        skip = nn.Dropout(self.stochastic_depth, (1, 2, 3), deterministic=not train)
        sweeps = BiLSTM2D(self.cell, self.implementation, self.dtype, name="sweeps")
        grid_BHWC = grid_BHWC + skip(sweeps(_norm("norm_sweeps", self.dtype)(grid_BHWC)))
        hidden_BHWD = _norm("norm_mlp", self.dtype)(grid_BHWC)
        width = max(1, int(self.mlp_ratio * num_channels))
        hidden_BHWD = nn.Dense(width, dtype=self.dtype, name="mlp_in")(hidden_BHWD)
        hidden_BHWD = nn.gelu(hidden_BHWD, approximate=False)
        added_BHWC = nn.Dense(num_channels, dtype=self.dtype, name="mlp_out")(hidden_BHWD)
        return grid_BHWC + skip(added_BHWC)


def _norm(name: str, dtype: Any) -> nn.Module:
    # The variance of the centred values, as PyTorch's: E[x^2] - E[x]^2 loses digits of a large
    # mean, and the residual sum has one.
    return nn.LayerNorm(EPSILON, dtype=dtype, use_fast_variance=False, name=name)


class Sequencer(nn.Module):
    """Stages of blocks on a grid of patches; the mean over the last grid is classified.

    With the defaults of `config.model` it is Sequencer2D-S, whose weights of timm
    `crnn_jax.convert` reads. Unlike there, a side that a patch size does not divide is padded, not
    cut; the initial weights are those of our layers, with a forget gate that starts open.

    Attributes:
      head: maps the mean, (B, C), to logits (B, K).
      depths: blocks of each stage.
      channels: C of each stage.
      patch_sizes: side of the patches that a stage's linear embedding reads, one number a stage;
        the first are of pixels, the next of the grid before.
    The other fields: `Block`.
    """

    head: nn.Module
    depths: Sequence[int]
    channels: Sequence[int]
    patch_sizes: Sequence[int]
    mlp_ratio: float
    stochastic_depth: float
    cell: str
    implementation: str
    dtype: Any

    @nn.compact
    def __call__(self, pixels: Array, *, train: bool) -> Output:
        """Returns `logits_BK` of normalised float images (B, H, W, C) of any size.

        Raises:
          UserError: the images are clips.
        """
        if is_clip(pixels):
            raise UserError(
                "config key 'model.name' is 'sequencer', which expects still images, found clips "
                f"of {pixels.shape[1]} frames: choose 'rnn', 'lrcn', 'tsn', 'crnn' or 'cnn'"
            )
        grid_BHWC = pixels.astype(self.dtype)
        stages = zip(self.depths, self.channels, self.patch_sizes, strict=True)
        for stage, (depth, num_channels, size) in enumerate(stages):
            patch_BHWD = cut_patches(grid_BHWC, size)
            embed = nn.Dense(num_channels, dtype=self.dtype, name=f"embed_{stage}")
            grid_BHWC = embed(patch_BHWD)
            for index in range(depth):
                grid_BHWC = Block(
                    self.mlp_ratio,
                    self.stochastic_depth,
                    self.cell,
                    self.implementation,
                    self.dtype,
                    name=f"block_{stage}_{index}",
                )(grid_BHWC, train=train)
        feature_BHWC = _norm("norm", self.dtype)(grid_BHWC)
        pooled_BC = jnp.mean(feature_BHWC, axis=(1, 2), dtype=jnp.float32)
        return Output(self.head(pooled_BC, train=train))
