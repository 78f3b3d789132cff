"""The CNN, the paper's first row and the control of all others: no recurrence at all."""

import jax
from flax import linen as nn

from crnn_jax.models.frames import is_clip, middle_frame
from crnn_jax.models.heads import Output
from crnn_jax.models.trunk import Trunk

Array = jax.Array


class CNN(nn.Module):
    """The CRNN's very trunk, with mean pooling of the last map in place of the recurrence.

    The mean over the map (Lin et al. 2013, "Network In Network") goes to the head. In a clip it
    sees the middle frame alone: what it then misses is what the other frames tell.

    Attributes:
      head: maps the mean, (B, D), to logits (B, K).
    """

    trunk: Trunk
    head: nn.Module

    def __call__(self, pixels: Array, *, train: bool) -> Output:
        """Returns `logits_BK` of normalised float images (B, H, W, C) or clips (B, F, H, W, C)."""
        image_BHWC = middle_frame(pixels) if is_clip(pixels) else pixels
        pooled_BD = self.trunk(image_BHWC, train=train).pooled_BD
        return Output(self.head(pooled_BD, train=train))
