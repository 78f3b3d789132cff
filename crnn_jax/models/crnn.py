"""The CRNN, the paper's proposed model: a recurrent layer reads the CNN's last feature map."""

import jax
from flax import linen as nn

from crnn_jax.models.frames import is_clip, over_frames
from crnn_jax.models.heads import Output
from crnn_jax.models.readout import Readout
from crnn_jax.models.recurrent import Recurrent
from crnn_jax.models.step_order import order_steps
from crnn_jax.models.trunk import Trunk

Array = jax.Array
SEQUENCES = ("rows", "columns", "raster")  # ways that `read_map` knows


def read_map(map_BHWC: Array, sequence: str) -> Array:
    """Returns the map as feature_BTD, in one of three reading orders.

    Args:
      map_BHWC: any float dtype.
      sequence: 'rows' (T = H, D = W * C, from the top), 'columns' (T = W, D = H * C, from the
        left) or 'raster' (T = H * W, D = C, cell by cell, row after row).
    """
    batch, height, width, channels = map_BHWC.shape
    if sequence == "rows":
        return map_BHWC.reshape(batch, height, width * channels)
    if sequence == "columns":
        return map_BHWC.swapaxes(1, 2).reshape(batch, width, height * channels)
    return map_BHWC.reshape(batch, height * width, channels)


class CRNN(nn.Module):
    """Trunk, recurrent layers over its last map, readout, head.

    The paper: "the last conv output is flattened and fed to a recurrent layer", a GRU in practice,
    whose last time step goes to a fully connected layer. It does not say what a step is: 'raster'
    is the literal reading of "flattened"; 'rows' makes a quarter or fewer of the steps, each of a
    wide matmul, and so suits the hardware better. In a clip a step is a frame, T = F: its features
    are the mean over its last map, as LRCN's.

    Attributes:
      readout: 'last' is the paper's; of a bidirectional layer the last states of both directions
        are concatenated: the forward one has read the last step last, the reverse one the first.
      head: maps the readout's vector, (B, N), to logits (B, K).
      sequence: how a still image is read: 'rows', 'columns' or 'raster' (`read_map`).
      step_order: in which the recurrence reads the steps (`order_steps`).
    """

    trunk: Trunk
    recurrent: Recurrent
    readout: Readout
    head: nn.Module
    sequence: str
    step_order: str

    def __call__(self, pixels: Array, *, train: bool, order_key_B: Array | None = None) -> Output:
        """Returns `logits_BK` of normalised float images (B, H, W, C) or clips (B, F, H, W, C).

        `order_key_B`: the `key_B` of `order_steps`.
        """
        if is_clip(pixels):
            feature_BTD = over_frames(lambda x: self.trunk(x, train=train).pooled_BD, pixels)
        else:
            feature_BTD = read_map(self.trunk(pixels, train=train).map_BHWC, self.sequence)
        feature_BTD = order_steps(feature_BTD, self.step_order, order_key_B)
        pooled_BN = self.readout(*self.recurrent(feature_BTD))
        return Output(self.head(pooled_BN, train=train))
