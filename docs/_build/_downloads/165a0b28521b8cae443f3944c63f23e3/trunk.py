"""The convolutional trunk that CNN, LRCN, TSN and CRNN share."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from crnn_jax.models.convolution import Conv, conv2d
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
      maps: {stride: map_BHWC}, the map that each stage ends with, in the trunk's dtype; the stride
        is the image's pixels to a position of the map: 2, 4, 8, ...
      pooled_BD: the mean over the last map, float32, D = C.
    """

    maps: dict[int, Array]
    pooled_BD: Array

    @property
    def map_BHWC(self) -> Array:
        """The last map, that of the largest stride."""
        return self.maps[max(self.maps)]


def layers_per_stage(num_conv_layers: int, num_stages: int) -> list[int]:
    """Returns the convolutions of each stage: spread evenly, the earlier get the remainder."""
    each, extra = divmod(num_conv_layers, num_stages)
    return [each + (stage < extra) for stage in range(num_stages)]


class Trunk(nn.Module):
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

    width: int
    stage_multipliers: Sequence[float]
    num_conv_layers: int
    norm: bool
    norm_momentum: float
    norm_scale: bool
    activation: str
    conv_init: str
    whiten_size: int
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
        maps: dict[int, Array] = {}
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
            maps[2 ** (stage + 1)] = map_BHWC
        return Features(maps, jnp.mean(map_BHWC, axis=(1, 2), dtype=jnp.float32))
