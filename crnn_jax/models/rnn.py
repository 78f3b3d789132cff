"""The RNN: a recurrent layer reads the pixels themselves, row by row or patch by patch."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from crnn_jax.models.frames import is_clip
from crnn_jax.models.heads import Output
from crnn_jax.models.readout import Readout
from crnn_jax.models.recurrent import Recurrent
from crnn_jax.models.step_order import order_steps

Array = jax.Array
TOKENS = ("rows", "patches")  # what a step reads


def read_rows(pixels: Array) -> Array:
    """Returns feature_BTD: images have T = H, D = W * C, from the top; clips T = F, D = H * W * C.

    Args:
      pixels: image_BHWC or video_BFHWC.
    """
    return pixels.reshape(*pixels.shape[:2], -1)


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
    """Recurrent layers over frames, or over image rows or patches; the readout is classified.

    The paper's second row, "RNN": Eq. 1 (or a GRU, LSTM) without any convolution. A video model
    reads frames, and so does this one of a clip: a step is all pixels of a frame, T = F. A still
    image has none, so its rows or patches take their place.

    Attributes:
      head: maps the readout's vector, (B, N), to logits (B, K).
      tokens: how a still image is cut: 'rows' (`read_rows`) or 'patches' (`read_patches`).
      patch_size: side of a patch in pixels.
      step_order: in which the recurrence reads the steps (`order_steps`).
    """

    recurrent: Recurrent
    readout: Readout
    head: nn.Module
    tokens: str
    patch_size: int
    step_order: str

    def __call__(self, pixels: Array, *, train: bool, order_key_B: Array | None = None) -> Output:
        """Returns `logits_BK` of normalised float images (B, H, W, C) or clips (B, F, H, W, C).

        `order_key_B`: the `key_B` of `order_steps`.
        """
        if is_clip(pixels) or self.tokens == "rows":
            feature_BTD = read_rows(pixels)
        else:
            feature_BTD = read_patches(pixels, self.patch_size)
        feature_BTD = order_steps(feature_BTD, self.step_order, order_key_B)
        pooled_BN = self.readout(*self.recurrent(feature_BTD))
        return Output(self.head(pooled_BN, train=train))
