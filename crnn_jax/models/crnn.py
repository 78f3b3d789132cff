"""The CRNN, the paper's proposed model: a recurrent layer reads the CNN's last feature map."""

from typing import Any

import jax
from flax import linen as nn

from crnn_jax.models.cnn import TrunkFields, trunk_of
from crnn_jax.models.heads import Classifier, Output
from crnn_jax.models.recurrent import recurrent_of

Array = jax.Array
SEQUENCES = ("rows", "columns", "raster")  # of `read_map`


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


class CRNN(TrunkFields):
    """Trunk, recurrent layer over its last map, last state, dropout, one fully connected layer.

    The paper: "the last conv output is flattened and fed to a recurrent layer", a GRU in practice,
    whose last time step goes to a fully connected layer. It does not say what a step is: 'raster'
    is the literal reading of "flattened"; 'rows' makes a quarter or fewer of the steps, each of a
    wide matmul, and so suits the hardware better.

    Attributes:
      sequence: 'rows', 'columns' or 'raster' (`read_map`).
      bidirectional: the last states of both directions are concatenated: the forward one has read
        the last step last, the reverse one the first.
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
    sequence: str
    num_classes: int
    dtype: Any

    @nn.compact
    def __call__(self, image_BHWC: Array, *, train: bool) -> Output:
        """Returns `logits_BK` of normalised float images."""
        trunk = trunk_of(self)
        feature_BTD = read_map(trunk(image_BHWC, train=train).map_BHWC, self.sequence)
        _, last_BN = recurrent_of(self)(feature_BTD)
        head = Classifier(self.num_classes, self.dropout, self.logit_scale, name="head")
        return Output(head(last_BN, train=train))
