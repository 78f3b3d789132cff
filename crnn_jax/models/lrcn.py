"""LRCN: a CNN on each frame, or on each of several bands of an image, and an LSTM over them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from crnn_jax.models.frames import is_clip, over_frames
from crnn_jax.models.heads import Output
from crnn_jax.models.readout import Last, Readout
from crnn_jax.models.recurrent import Recurrent
from crnn_jax.models.step_order import order_steps
from crnn_jax.models.trunk import Trunk

Array = jax.Array


def band_tops(height: int, num_frames: int, frame_height: float) -> tuple[np.ndarray, int]:
    """Returns (the first row of each band, the rows of a band) of an image of `height` rows.

    The bands are evenly spaced from the top edge to the bottom one, and each is
    max(1, round(frame_height * H)) rows high; they overlap where num_frames * frame_height > 1. A
    single band lies at the top.
    """
    band = max(1, round(frame_height * height))
    return np.rint(np.linspace(0, height - band, num_frames)).astype(int), band


def cut_bands(image_BHWC: Array, num_frames: int, frame_height: float) -> Array:
    """Returns video_BFHWC: the bands of `band_tops`, as wide as the image."""
    tops, band = band_tops(image_BHWC.shape[1], num_frames, frame_height)
    return jnp.stack([image_BHWC[:, top : top + band] for top in tops], axis=1)


def mean_probability(step_logits_BTK: Array) -> Array:
    """Returns logits_BK: the logarithm of the steps' mean class probabilities."""
    log_probability_BTK = nn.log_softmax(step_logits_BTK)
    num_steps = step_logits_BTK.shape[1]
    return nn.logsumexp(log_probability_BTK, axis=1) - jnp.log(num_steps)


class LRCN(nn.Module):
    """Long-term recurrent convolutional network, on clips or on the bands of a still image.

    Donahue et al. 2015, "Long-term Recurrent Convolutional Networks for Visual Recognition and
    Description", activity recognition: each frame goes through one CNN, an LSTM reads the frame
    features, every step predicts the class. As there, training averages the steps'
    cross-entropies and evaluation the steps' probabilities. A still image has no frames: bands of
    it, from top to bottom, take their place. The CNN is our trunk with mean pooling, not CaffeNet.

    Attributes:
      recurrent: in one direction in the paper, whose steps know no future frame.
      readout: 'last' is the paper's way, described above: every step predicts. With any other the
        head classifies one vector for all steps, and there are no step logits.
      head: maps a state or the readout's vector, (..., N), to logits (..., K).
      num_frames: bands of a still image, T; for a clip T = F.
      frame_height: height of a band, as a fraction of the image's, in (0, 1].
      step_order: in which the recurrence reads the frames (`order_steps`).
    """

    trunk: Trunk
    recurrent: Recurrent
    readout: Readout
    head: nn.Module
    num_frames: int
    frame_height: float
    step_order: str

    def __call__(self, pixels: Array, *, train: bool, order_key_B: Array | None = None) -> Output:
        """Returns `logits_BK` and, with the readout 'last', `step_logits_BTK` of each frame.

        Args:
          pixels: normalised float images (B, H, W, C) or clips (B, F, H, W, C).
          train: whether it is a training step.
          order_key_B: the `key_B` of `order_steps`.
        """
        if is_clip(pixels):
            video_BFHWC = pixels
        else:
            video_BFHWC = cut_bands(pixels, self.num_frames, self.frame_height)
        feature_BTD = over_frames(lambda x: self.trunk(x, train=train).pooled_BD, video_BFHWC)
        feature_BTD = order_steps(feature_BTD, self.step_order, order_key_B)
        state_BTN, last_BN = self.recurrent(feature_BTD)
        if not isinstance(self.readout, Last):
            return Output(self.head(self.readout(state_BTN, last_BN), train=train))
        step_logits_BTK = self.head(state_BTN, train=train)
        return Output(mean_probability(step_logits_BTK), step_logits_BTK)
