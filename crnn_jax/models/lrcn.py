"""LRCN: a CNN on each of several bands of the image, an LSTM over the bands."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from crnn_jax.models.cnn import TrunkFields, over_frames, trunk_of
from crnn_jax.models.heads import Classifier, Output
from crnn_jax.models.recurrent import recurrent_of

Array = jax.Array


def cut_bands(image_BHWC: Array, num_frames: int, frame_height: float) -> Array:
    """Returns video_BFHWC: `num_frames` bands, evenly spaced from the top edge to the bottom one.

    Each is max(1, round(frame_height * H)) rows high and as wide as the image; they overlap where
    num_frames * frame_height > 1. A single band lies at the top.
    """
    height = image_BHWC.shape[1]
    band = max(1, round(frame_height * height))
    tops = np.rint(np.linspace(0, height - band, num_frames)).astype(int)
    return jnp.stack([image_BHWC[:, top : top + band] for top in tops], axis=1)


def mean_probability(step_logits_BTK: Array) -> Array:
    """Returns logits_BK: the logarithm of the steps' mean class probabilities."""
    log_probability_BTK = nn.log_softmax(step_logits_BTK)
    num_steps = step_logits_BTK.shape[1]
    return nn.logsumexp(log_probability_BTK, axis=1) - jnp.log(num_steps)


class LRCN(TrunkFields):
    """Long-term recurrent convolutional network on the bands of a still image.

    Donahue et al. 2015, "Long-term Recurrent Convolutional Networks for Visual Recognition and
    Description", activity recognition: each frame goes through one CNN, an LSTM reads the frame
    features, every step predicts the class. As there, training averages the steps'
    cross-entropies and evaluation the steps' probabilities. A still image has no frames: bands of
    it, from top to bottom, take their place. The CNN is our trunk with mean pooling, not CaffeNet.

    Attributes:
      num_frames: bands, T.
      frame_height: of a band, as a fraction of the image's height, in (0, 1].
      bidirectional: False in the paper, whose steps know no future frame.
    The other fields: `Trunk`, `Recurrent` and `Classifier`.
    """

    cell: str
    hidden_units: int
    num_recurrent_layers: int
    bidirectional: bool
    implementation: str
    remat: bool
    dropout: float
    logit_scale: float
    num_frames: int
    frame_height: float
    num_classes: int
    dtype: Any

    @nn.compact
    def __call__(self, image_BHWC: Array, *, train: bool) -> Output:
        """Returns `step_logits_BTK` of each band and `logits_BK`, the log of their mean."""
        trunk = trunk_of(self)
        video_BFHWC = cut_bands(image_BHWC, self.num_frames, self.frame_height)
        feature_BTD = over_frames(lambda image: trunk(image, train=train).pooled_BD, video_BFHWC)
        state_BTN, _ = recurrent_of(self)(feature_BTD)
        head = Classifier(self.num_classes, self.dropout, self.logit_scale, name="head")
        step_logits_BTK = head(state_BTN, train=train)
        return Output(mean_probability(step_logits_BTK), step_logits_BTK)
