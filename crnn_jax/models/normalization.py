"""BatchNorm equal to flax's in parameters, statistics and values, with fewer passes over memory."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from crnn_jax.axes import along_last

Array = jax.Array
Outputs = tuple[Array, Array, Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_norm(image_BHWC: Array, scale_C: Array, bias_C: Array, epsilon: float) -> Outputs:
    """Returns (image_BHWC, mean_C, variance_C), the image normalised over all axes but the last.

    Ioffe and Szegedy 2015, "Batch Normalization", algorithm 1, with the gradients of its section 3
    written out: JAX's own of the same formulas write the centred image and the scaled gradient to
    memory and sum once more, a tenth of a step on a GPU (docs/performance.md).

    Args:
      image_BHWC: any floating dtype; its statistics are computed in float32.
      scale_C, bias_C: float32.
      epsilon: added to the variance.

    Returns:
      The image in its dtype; its mean and its variance, E[x^2] - E[x]^2 (biased), in float32 and
      without a gradient.
    """
    return _forward(image_BHWC, scale_C, bias_C, epsilon)[0]


def _forward(
    image_BHWC: Array, scale_C: Array, bias_C: Array, epsilon: float
) -> tuple[Outputs, tuple[Array, ...]]:
    image, axes = image_BHWC.astype(jnp.float32), tuple(range(image_BHWC.ndim - 1))
    mean_C = jnp.mean(image, axes)
    variance_C = jnp.maximum(0.0, jnp.mean(lax.square(image), axes) - lax.square(mean_C))
    inverse_C = lax.rsqrt(variance_C + epsilon)  # 1 / standard deviation
    output_BHWC = scale_and_shift(image_BHWC, inverse_C * scale_C, mean_C, bias_C)
    return (output_BHWC, mean_C, variance_C), (image_BHWC, scale_C, mean_C, inverse_C)


def _backward(
    epsilon: float, saved: tuple[Array, ...], grads: Outputs
) -> tuple[Array, Array, Array]:
    del epsilon
    image_BHWC, scale_C, mean_C, inverse_C = saved
    axes = tuple(range(image_BHWC.ndim - 1))
    image, grad = image_BHWC.astype(jnp.float32), grads[0].astype(jnp.float32)
    bias_grad_C = jnp.sum(grad, axes)
    scale_grad_C = inverse_C * (jnp.sum(grad * image, axes) - mean_C * bias_grad_C)
    # factor * (grad - mean(grad) - normalised * mean(grad * normalised)), as a sum of three terms.
    factor_C, pixels = inverse_C * scale_C, image.size // image.shape[-1]
    slope_C = -factor_C * inverse_C * scale_grad_C / pixels
    constant_C = -factor_C * bias_grad_C / pixels - slope_C * mean_C
    factor_C, slope_C, constant_C = lax.optimization_barrier((factor_C, slope_C, constant_C))
    factor, slope, constant = (
        along_last(value_C, image) for value_C in (factor_C, slope_C, constant_C)
    )
    image_grad = factor * grad + slope * image + constant
    return image_grad.astype(image_BHWC.dtype), scale_grad_C, bias_grad_C


batch_norm.defvjp(_forward, _backward)


def scale_and_shift(image_BHWC: Array, factor_C: Array, mean_C: Array, bias_C: Array) -> Array:
    """Returns (image - mean) * factor + bias in the image's dtype, computed in float32."""
    # Without a barrier XLA computes what belongs to a channel again for every pixel.
    factor_C, constant_C = lax.optimization_barrier((factor_C, bias_C - mean_C * factor_C))
    factor, constant = along_last(factor_C, image_BHWC), along_last(constant_C, image_BHWC)
    return (image_BHWC.astype(jnp.float32) * factor + constant).astype(image_BHWC.dtype)


class BatchNorm(nn.Module):
    """A drop-in for flax's `nn.BatchNorm`: the same parameters and running statistics.

    Attributes:
      momentum: what the running statistics keep of themselves each step.
      use_scale: whether there is a trained scale beside the trained bias.
      epsilon: added to the variance.
    """

    momentum: float
    use_scale: bool = True
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, image_BHWC: Array, *, train: bool) -> Array:
        """Returns the image normalised by its own statistics, or by the running ones."""
        shape = image_BHWC.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_variance = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale_C = jnp.ones(shape, jnp.float32)
        if self.use_scale:
            scale_C = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias_C = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        if not train:
            factor_C = lax.rsqrt(running_variance.value + self.epsilon) * scale_C
            return scale_and_shift(image_BHWC, factor_C, running_mean.value, bias_C)
        output_BHWC, mean_C, variance_C = batch_norm(image_BHWC, scale_C, bias_C, self.epsilon)
        if not self.is_initializing():
            for running, new_C in ((running_mean, mean_C), (running_variance, variance_C)):
                running.value = self.momentum * running.value + (1 - self.momentum) * new_C
        return output_BHWC
