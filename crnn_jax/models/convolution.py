"""A 2-d convolution whose weight gradient is fast on the CPU, and the flax layer made of it.

XLA's weight gradient on the CPU runs at a tenth to a half of the matmul rate (and at a hundredth
inside a loop), which makes it the largest part of a training step; `kernel_gradient.py` has
another. Other backends keep XLA's own. `benchmarks/conv_gradient.py` measures all three passes.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

from crnn_jax.axes import along_last
from crnn_jax.models.kernel_gradient import Pads, Pair, kernel_gradient

Padding = str | Sequence[tuple[int, int]]


def conv2d(
    image_BHWC: jax.Array,
    kernel_HWIO: jax.Array,
    *,
    strides: Sequence[int] = (1, 1),
    padding: Padding = "SAME",
) -> jax.Array:
    """Returns the convolution BHWO of the image with the kernel, both of one dtype.

    Differentiable once in reverse mode; the kernel's gradient is accumulated in f32 on the CPU.
    """
    strides = (int(strides[0]), int(strides[1]))
    if isinstance(padding, str):
        sizes = image_BHWC.shape[1:3], kernel_HWIO.shape[:2]
        padding = lax.padtype_to_pads(*sizes, strides, padding)
    (top, bottom), (left, right) = padding
    pads = (int(top), int(bottom)), (int(left), int(right))
    return _conv2d(image_BHWC, kernel_HWIO, strides, pads)


def _is_small(image_BHWC: jax.Array, kernel_HWIO: jax.Array) -> bool:
    """Returns whether the kernel is higher or wider than the image without its padding."""
    image, kernel = image_BHWC.shape[1:3], kernel_HWIO.shape[:2]
    return image[0] < kernel[0] or image[1] < kernel[1]


def _xla_conv2d(
    image_BHWC: jax.Array, kernel_HWIO: jax.Array, strides: Pair, pads: Pads
) -> jax.Array:
    if _is_small(image_BHWC, kernel_HWIO):
        # XLA's CPU would compute it number by number, twenty times as long. The barrier keeps the
        # border from becoming the convolution's padding again.
        borders = [(low, high, 0) for low, high in ((0, 0), *pads, (0, 0))]
        zero = jnp.zeros((), image_BHWC.dtype)
        image_BHWC = lax.optimization_barrier(lax.pad(image_BHWC, zero, borders))
        pads = ((0, 0), (0, 0))
    output_BHWO = lax.conv_general_dilated(
        image_BHWC, kernel_HWIO, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    if image_BHWC.dtype != jnp.bfloat16:
        return output_BHWO
    # XLA's CPU would fuse a bfloat16 convolution with what follows, a norm, a mean and a product,
    # into one operation of YNNPACK, and some of those are not numbers.
    return lax.platform_dependent(
        output_BHWO, cpu=lax.optimization_barrier, default=lambda output_BHWO: output_BHWO
    )


_conv2d = jax.custom_vjp(_xla_conv2d, nondiff_argnums=(2, 3))


def _conv2d_forward(
    image_BHWC: jax.Array, kernel_HWIO: jax.Array, strides: Pair, pads: Pads
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _xla_conv2d(image_BHWC, kernel_HWIO, strides, pads), (image_BHWC, kernel_HWIO)


def _conv2d_backward(
    strides: Pair,
    pads: Pads,
    saved: tuple[jax.Array, jax.Array],
    grad_BHWO: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    image_BHWC, kernel_HWIO = saved

    def xla_kernel_grad(image_BHWC: jax.Array, grad_BHWO: jax.Array) -> jax.Array:
        def of_kernel(kernel_HWIO: jax.Array) -> jax.Array:
            return _xla_conv2d(image_BHWC, kernel_HWIO, strides, pads)

        (kernel_grad_HWIO,) = jax.vjp(of_kernel, kernel_HWIO)[1](grad_BHWO)
        return kernel_grad_HWIO

    def cuda_kernel_grad(image_BHWC: jax.Array, grad_BHWO: jax.Array) -> jax.Array:
        # cuDNN's lies in memory as OHWI. XLA would turn it within the optimizer's pass over the
        # parameters, which then is slow, and not in place: here it is turned before.
        kernel_grad_HWIO = xla_kernel_grad(image_BHWC, grad_BHWO)
        kernel_grad_HWIO = with_layout_constraint(kernel_grad_HWIO, Layout((0, 1, 2, 3)))
        return lax.optimization_barrier(kernel_grad_HWIO)

    rows, columns = kernel_HWIO.shape[:2]
    cpu_kernel_grad = functools.partial(
        kernel_gradient, window=(rows, columns), strides=strides, pads=pads
    )

    image_grad_BHWC = _image_gradient(grad_BHWO, kernel_HWIO, image_BHWC, strides, pads)
    # Chosen when the program is lowered, so that an export for another platform has no loop.
    kernel_grad_HWIO = lax.platform_dependent(
        image_BHWC,
        grad_BHWO,
        cpu=cpu_kernel_grad,
        cuda=cuda_kernel_grad,
        default=xla_kernel_grad,
    )
    return image_grad_BHWC, kernel_grad_HWIO


_conv2d.defvjp(_conv2d_forward, _conv2d_backward)


def _image_gradient(
    grad_BHWO: jax.Array, kernel_HWIO: jax.Array, image_BHWC: jax.Array, strides: Pair, pads: Pads
) -> jax.Array:
    """Returns the image's gradient BHWC; only the image's shape counts."""

    def xla_gradient(grad_BHWO: jax.Array, kernel_HWIO: jax.Array) -> jax.Array:
        def of_image(image_BHWC: jax.Array) -> jax.Array:
            return _xla_conv2d(image_BHWC, kernel_HWIO, strides, pads)

        return jax.vjp(of_image, image_BHWC)[1](grad_BHWO)[0]

    def cpu_gradient(grad_BHWO: jax.Array, kernel_HWIO: jax.Array) -> jax.Array:
        # XLA's own, written out: a convolution of the gradient with the turned kernel. With that in
        # memory oneDNN takes it as a forward pass, in bfloat16 twice as fast.
        turned_HWOI = lax.optimization_barrier(jnp.flip(kernel_HWIO, (0, 1)).swapaxes(2, 3))
        (top, bottom), (left, right) = pads
        down, across = (size - 1 for size in kernel_HWIO.shape[:2])
        grad_pads = (down - top, down - bottom), (across - left, across - right)
        return _xla_conv2d(grad_BHWO, turned_HWOI, strides, grad_pads)

    if strides != (1, 1):
        return xla_gradient(grad_BHWO, kernel_HWIO)
    return lax.platform_dependent(grad_BHWO, kernel_HWIO, cpu=cpu_gradient, default=xla_gradient)


class Conv(nn.Module):
    """A convolution layer equal to flax's `nn.Conv` in its parameters and values.

    Parameters are f32; `dtype` is what they and the image are computed in, by default the
    promotion of both. `convolve` has the arguments and the result of `conv2d`, or pools it too; the
    bias comes after it.
    """

    features: int
    kernel_size: Sequence[int] = (3, 3)
    strides: Sequence[int] = (1, 1)
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Callable[..., jax.Array] = nn.linear.default_kernel_init
    bias_init: Callable[..., jax.Array] = nn.initializers.zeros_init()
    convolve: Callable[..., jax.Array] = conv2d

    @nn.compact
    def __call__(self, image_BHWC: jax.Array) -> jax.Array:
        """Returns BHWO: `convolve` of the image plus the bias."""
        shape = (*self.kernel_size, image_BHWC.shape[-1], self.features)
        kernel_HWIO = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias_O = None
        if self.use_bias:
            bias_O = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        image_BHWC, kernel_HWIO, bias_O = promote_dtype(
            image_BHWC, kernel_HWIO, bias_O, dtype=self.dtype
        )
        output_BHWO = self.convolve(
            image_BHWC, kernel_HWIO, strides=self.strides, padding=self.padding
        )
        if bias_O is not None:
            output_BHWO += along_last(bias_O, output_BHWO)
        return output_BHWO
