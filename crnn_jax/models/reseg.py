"""ReSeg: recurrent sweeps over a trunk's last map, and a decoder back to the input's size."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from crnn_jax.errors import UserError
from crnn_jax.models.convolution import Conv
from crnn_jax.models.frames import is_clip
from crnn_jax.models.heads import DenseOutput
from crnn_jax.models.normalization import BatchNorm
from crnn_jax.models.recurrent import Recurrent
from crnn_jax.models.rnn_deep import sweep_grids
from crnn_jax.models.trunk import ACTIVATIONS, Trunk

Array = jax.Array


def upsample(map_BHWC: Array, factor: int, size: Sequence[int]) -> Array:
    """Returns the map with each position repeated `factor` times along both sides, cut to `size`.

    Position i of the result shows position i // factor, as in `pooling.max_pool` position i was
    pooled into i // 2; what a partial last block has too much is cut away.

    Args:
      map_BHWC: any dtype.
      factor: at least 1.
      size: (H, W) of the result, at most `factor` times as large.
    """
    batch, height, width, channels = map_BHWC.shape
    # A broadcast, because the gradient of `jnp.repeat` is a scatter, which is slow.
    block = (batch, height, factor, width, factor, channels)
    repeated = jnp.broadcast_to(map_BHWC[:, :, None, :, None], block)
    whole_BHWC = repeated.reshape(batch, height * factor, width * factor, channels)
    return whole_BHWC[:, : size[0], : size[1]]


class Decoder(nn.Module):
    """From a coarse grid to one feature a pixel, through the trunk's maps from coarse to fine.

    At each stride the features so far are repeated up to the trunk's map and joined with it, and
    one 3x3 convolution with BatchNorm and activation reads both; last, the same with the image.

    Attributes:
      decoder_width: channels at the image's size; half as many more at each coarser map: at most
        `decoder_width` * stride, and no more than the trunk's map has.
      dtype: that the convolutions compute in; parameters are float32.
    The other fields: `Trunk`.
    """

    decoder_width: int
    norm: bool
    norm_momentum: float
    norm_scale: bool
    activation: str
    dtype: Any

    @nn.compact
    def __call__(
        self, grid_BHWD: Array, stride: int, maps: dict[int, Array], *, train: bool
    ) -> Array:
        """Returns feature_BHWD of the finest map's size, D = `decoder_width`, in `dtype`.

        Args:
          grid_BHWD: the coarse features.
          stride: pixels to a position of the grid, along both sides.
          maps: {stride: map_BHWC}; stride 1 is the image. Each stride divides the next.
        """
        feature_BHWD = grid_BHWD.astype(self.dtype)
        for finer, map_BHWC in sorted(maps.items(), reverse=True):
            size, num_channels = map_BHWC.shape[1:3], map_BHWC.shape[3]
            feature_BHWD = upsample(feature_BHWD, stride // finer, size)
            joined_BHWD = jnp.concatenate([feature_BHWD, map_BHWC.astype(self.dtype)], axis=-1)
            width = self.decoder_width * finer
            feature_BHWD = Conv(
                self.decoder_width if finer == 1 else min(width, num_channels),
                use_bias=not self.norm,
                dtype=self.dtype,
                kernel_init=nn.initializers.he_normal(),
                name=f"conv_{finer}",
            )(joined_BHWD)
            if self.norm:
                norm = BatchNorm(self.norm_momentum, self.norm_scale, name=f"norm_{finer}")
                feature_BHWD = norm(feature_BHWD, train=train)
            feature_BHWD = ACTIVATIONS[self.activation](feature_BHWD)
            stride = finer
        return feature_BHWD


class ReSeg(nn.Module):
    """Trunk, sweeps over the columns and rows of its last map, decoder, a class for each pixel.

    Visin et al. 2016, "ReSeg: A Recurrent Neural Network-based Model for Semantic Segmentation":
    after the sweeps each position has seen the whole image. Unlike there, the trunk is trained from
    the start and not VGG-16's pretrained layers; maps are repeated up to the next stride and joined
    with the trunk's map there (the skips of Ronneberger et al. 2015, "U-Net"), where ReSeg has
    transposed convolutions alone. Any image size works.

    Attributes:
      columns: the recurrent layers that read the columns, a bidirectional one for each grid.
      rows: those that read the rows.
      decoder: reads the last grid and the trunk's maps.
      head: maps the decoder's features, (B, H, W, D), to logits (B, H, W, K).
      patch_sizes: side of a layer's patches, one number a layer; the first are of the trunk's map.
    """

    trunk: Trunk
    columns: tuple[Recurrent, ...]
    rows: tuple[Recurrent, ...]
    decoder: Decoder
    head: nn.Module
    patch_sizes: Sequence[int]

    def __call__(self, pixels: Array, *, train: bool) -> DenseOutput:
        """Returns `logits_BHWK` of normalised float images (B, H, W, C).

        Raises:
          UserError: the images are clips.
        """
        if is_clip(pixels):
            raise UserError(
                "config key 'model.name' is 'reseg', which expects still images, found clips of "
                f"{pixels.shape[1]} frames: choose another source"
            )
        maps = self.trunk(pixels, train=train).maps
        stride = max(maps)
        grid_BHWD = sweep_grids(self.columns, self.rows, self.patch_sizes, maps[stride])
        for size in self.patch_sizes:
            stride *= size
        feature_BHWD = self.decoder(grid_BHWD, stride, {1: pixels, **maps}, train=train)
        return DenseOutput(self.head(feature_BHWD, train=train))
