"""A first layer that whitens patches of the image, and convolutions that start as the identity."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from crnn_jax.axes import along_last

Array = jax.Array


class Whitening(nn.Module):
    """A convolution whose fixed kernel decorrelates the pixels of each patch; its bias is trained.

    Page 2019, "How to Train Your ResNet 8: Bag of Tricks", and Jordan 2024, "94% on CIFAR-10 in
    3.29 Seconds on a Single GPU" (arXiv 2404.00498), section 3.2: 2 * size**2 * C outputs, the
    whitened directions of the training images' patches and their negations, so that a ReLU or GELU
    behind it loses neither sign. There the image shrinks by size - 1; here it keeps its size
    (padding SAME), so that any image has a result and maps keep even sides. There the bias stops
    being trained after three epochs; here it does not.

    The kernel is a statistic of the data and no parameter: it lies in the collection "batch_stats",
    which no optimizer sees, as zeros until a run puts the data's kernel there.

    Attributes:
      size: k, side of a patch in pixels.
      dtype: that the convolution computes in.
    """

    size: int
    dtype: Any

    @nn.compact
    def __call__(self, image_BHWC: Array) -> Array:
        """Returns (B, H, W, 2 k k C) of normalised images."""
        channels = image_BHWC.shape[-1]
        shape = (self.size, self.size, channels, 2 * self.size**2 * channels)
        kernel_HWIO = self.variable("batch_stats", "kernel", jnp.zeros, shape, jnp.float32).value
        bias_C = self.param("bias", nn.initializers.zeros, shape[-1:], jnp.float32)
        # XLA's own convolution: neither the image nor the kernel has a gradient to be slow.
        map_BHWC = lax.conv_general_dilated(
            image_BHWC.astype(self.dtype),
            kernel_HWIO.astype(self.dtype),
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return map_BHWC + along_last(bias_C.astype(self.dtype), map_BHWC)


def dirac(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Returns a kernel_HWIO whose first min(I, O) outputs are its inputs; the others are He-normal.

    Jordan 2024 (arXiv 2404.00498), section 3.3: at the start a deep trunk passes its input on.
    """
    height, width, inputs, outputs = shape
    kernel_HWIO = nn.initializers.he_normal()(key, shape, dtype)
    index = jnp.arange(min(inputs, outputs))
    kernel_HWIO = kernel_HWIO.at[..., : len(index)].set(0.0)
    return kernel_HWIO.at[height // 2, width // 2, index, index].set(1.0)
