"""What every model returns, and the fully connected head that ends it."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

Array = jax.Array


@struct.dataclass
class Output:
    """A model's answer.

    Attributes:
      logits_BK: float32 class scores of the whole image, a consensus where there are several.
      step_logits_BTK: float32 scores of each step, or None. Where they are present, the training
        loss is the average of the steps' cross-entropies, not the cross-entropy of `logits_BK`.
    """

    logits_BK: Array
    step_logits_BTK: Array | None = None


@struct.dataclass
class DenseOutput:
    """A model's answer for each pixel.

    Attributes:
      logits_BHWK: float32 class scores, H and W those of the input.
    """

    logits_BHWK: Array


class Classifier(nn.Module):
    """Dropout, then one fully connected layer.

    Attributes:
      num_classes: K.
      dropout: the probability of setting a feature to zero in training, in [0, 1).
      logit_scale: by which the scores are multiplied; below 1 a short training starts softer (Page
        2018, "How to Train Your ResNet"; 1/9 in airbench, Jordan 2024).
    """

    num_classes: int
    dropout: float
    logit_scale: float

    @nn.compact
    def __call__(self, feature_D: Array, *, train: bool) -> Array:
        """Returns float32 logits (..., K) of (..., D); dropout needs the rng 'dropout' to train."""
        feature_D = nn.Dropout(self.dropout, deterministic=not train)(feature_D)
        # In float32 whatever the trunk computes in: the layer is small, and the loss reads it.
        dense = nn.Dense(self.num_classes, dtype=jnp.float32, name="dense")
        return self.logit_scale * dense(feature_D)
