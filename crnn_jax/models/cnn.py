"""The convolutional trunk that CNN, LRCN, TSN and CRNN share, and the CNN itself."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from crnn_jax.models.convolution import Conv, conv2d
from crnn_jax.models.heads import Classifier, Output
from crnn_jax.models.normalization import BatchNorm
from crnn_jax.models.pooling import conv_max_pool
from crnn_jax.models.whitening import Whitening, dirac

Array = jax.Array

ACTIVATIONS = {"relu": nn.relu, "gelu": nn.gelu}
KERNEL_INITS = {"he_normal": nn.initializers.he_normal(), "dirac": dirac}


@struct.dataclass
class Features:
    """What a trunk has to offer to the model on top of it.

    Attributes:
      map_BHWC: the last feature map, in the trunk's dtype.
      pooled_BD: its mean over the map, float32, D = C.
    """

    map_BHWC: Array
    pooled_BD: Array


def layers_per_stage(num_conv_layers: int, num_stages: int) -> list[int]:
    """Returns the convolutions of each stage: spread evenly, the earlier get the remainder."""
    each, extra = divmod(num_conv_layers, num_stages)
    return [each + (stage < extra) for stage in range(num_stages)]


class TrunkFields(nn.Module):
    """The fields of `Trunk`, which every model that has a trunk inherits."""

    width: int
    stage_multipliers: Sequence[float]
    num_conv_layers: int
    norm: bool
    norm_momentum: float
    norm_scale: bool
    activation: str
    conv_init: str
    whiten_size: int


class Trunk(TrunkFields):
    """3x3 convolutions in stages, each of which halves the map by max-pooling.

    The paper has "several conv layers followed by max pooling" and no more detail. Here a stage
    pools right after its first convolution, before the norm and the ReLU, as fast CIFAR-10 recipes
    do (Page 2018, "How to train your ResNet"; Jordan 2024, airbench): the rest of the stage then
    works on a quarter of the positions. GELU and SiLU cost 1.6 times as much as ReLU on a CPU.

    Attributes:
      width: channels of the first stage before its multiplier.
      stage_multipliers: channels of each stage are round(width * multiplier).
      num_conv_layers: in all, spread over the stages (`layers_per_stage`).
      norm: BatchNorm after each convolution, with statistics in float32 of the global batch;
        convolutions have a bias only without it.
      norm_momentum: what the running statistics keep of themselves each step.
      norm_scale: whether BatchNorm has a trained scale beside its trained bias.
      activation: 'relu' or 'gelu' (in its tanh form).
      conv_init: 'he_normal' or 'dirac' (`whitening.dirac`).
      whiten_size: side of the patches of a `Whitening` layer before all others; 0: none.
      dtype: that the convolutions compute in; parameters are float32.
    """

    dtype: Any

    @nn.compact
    def __call__(self, image_BHWC: Array, *, train: bool) -> Features:
        """Returns the features of normalised images of any size from 1 x 1 up.

        A side of H pixels becomes ceil(H / 2**stages); a map of 1 stays 1.
        """
        map_BHWC = image_BHWC.astype(self.dtype)
        activation = ACTIVATIONS[self.activation]
        if self.whiten_size > 0:
            map_BHWC = activation(Whitening(self.whiten_size, self.dtype, name="whiten")(map_BHWC))
        counts = layers_per_stage(self.num_conv_layers, len(self.stage_multipliers))
        for stage, (multiplier, count) in enumerate(
            zip(self.stage_multipliers, counts, strict=True)
        ):
            channels = max(1, round(self.width * multiplier))
            for layer in range(count):
                name = f"{stage}_{layer}"
                map_BHWC = Conv(
                    channels,
                    use_bias=not self.norm,
                    dtype=self.dtype,
                    kernel_init=KERNEL_INITS[self.conv_init],
                    convolve=conv_max_pool if layer == 0 else conv2d,
                    name=f"conv_{name}",
                )(map_BHWC)
                if self.norm:
                    norm = BatchNorm(self.norm_momentum, self.norm_scale, name=f"norm_{name}")
                    map_BHWC = norm(map_BHWC, train=train)
                map_BHWC = activation(map_BHWC)
        return Features(map_BHWC, jnp.mean(map_BHWC, axis=(1, 2), dtype=jnp.float32))


def trunk_of(model: Any) -> Trunk:
    """Returns the trunk, named "trunk", of a model that inherits the trunk's fields."""
    names = {field.name for field in dataclasses.fields(TrunkFields)} - {"parent", "name"}
    return Trunk(**{name: getattr(model, name) for name in names}, dtype=model.dtype, name="trunk")


def over_frames(features: Callable[[Array], Array], video_BFHWC: Array) -> Array:
    """Returns `features` of every frame, (B, F, D): frames are folded into the batch and back."""
    batch, num_frames = video_BFHWC.shape[:2]
    folded = video_BFHWC.reshape(batch * num_frames, *video_BFHWC.shape[2:])
    feature_ND = features(folded)
    return feature_ND.reshape(batch, num_frames, math.prod(feature_ND.shape[1:]))


class CNN(TrunkFields):
    """The CRNN's very trunk, with mean pooling of the last map in place of the recurrence.

    The paper's first row, "CNN". The mean over the map (Lin et al. 2013, "Network In Network")
    feeds dropout and one fully connected layer. Fields: `Trunk` and `Classifier`.
    """

    dropout: float
    logit_scale: float
    num_classes: int
    dtype: Any

    @nn.compact
    def __call__(self, image_BHWC: Array, *, train: bool) -> Output:
        """Returns `logits_BK` of normalised float images."""
        trunk = trunk_of(self)
        pooled_BD = trunk(image_BHWC, train=train).pooled_BD
        head = Classifier(self.num_classes, self.dropout, self.logit_scale, name="head")
        return Output(head(pooled_BD, train=train))
