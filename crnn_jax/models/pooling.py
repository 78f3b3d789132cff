"""Max-pooling, and the first convolution together with its pooling."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from crnn_jax.models.convolution import Padding, conv2d

Array = jax.Array

FEW_CHANNELS = 4  # an image's: cuDNN takes such a convolution twice as long as a product


def max_pool(image_BHWC: Array) -> Array:
    """Returns the largest of each 2 x 2 block; an odd last row or column is a block of its own.

    Equal to a max-pool of window 2, stride 2 and padding SAME; as there, the first of equal values
    has the gradient.
    """
    _, height, width, _ = image_BHWC.shape
    if height % 2 or width % 2:
        edges = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
        image_BHWC = jnp.pad(image_BHWC, edges, constant_values=-jnp.inf)
    return _max_of_blocks(image_BHWC)


@jax.custom_vjp
def _max_of_blocks(image_BHWC: Array) -> Array:
    return functools.reduce(jnp.maximum, _corners(image_BHWC))


def _corners(image_BHWC: Array) -> list[Array]:
    """Returns the four pixels of each 2 x 2 block, row by row."""
    return [image_BHWC[:, row::2, column::2] for row in range(2) for column in range(2)]


# On a CPU the gradient of XLA's windowed maximum is several times slower than this one, and JAX's
# of a maximum over axes, which shares a block's gradient among equal values, twice as slow.
def _max_and_place(corners: Sequence[Array]) -> tuple[Array, Array]:
    """Returns the largest of four arrays, and which it is: uint8, the first of equal ones."""
    largest = functools.reduce(jnp.maximum, corners)
    place = jnp.uint8(3)
    for index, corner in reversed(list(enumerate(corners[:3]))):
        place = jnp.where(corner == largest, jnp.uint8(index), place)
    # Without the barrier XLA finds the places in the backward pass, from all that was pooled.
    return lax.optimization_barrier((largest, place))


def _max_forward(image_BHWC: Array) -> tuple[Array, Array]:
    return _max_and_place(_corners(image_BHWC))


def _max_backward(place_BHWC: Array, grad_BHWC: Array) -> tuple[Array]:
    batch, height, width, channels = grad_BHWC.shape
    place = place_BHWC[:, :, None, :, None]
    block = jnp.arange(4, dtype=jnp.uint8).reshape(1, 1, 2, 1, 2, 1)
    grad = jnp.where(place == block, grad_BHWC[:, :, None, :, None], 0)
    return (grad.reshape(batch, 2 * height, 2 * width, channels),)


_max_of_blocks.defvjp(_max_forward, _max_backward)


def conv_max_pool(
    image_BHWC: Array,
    kernel_HWIO: Array,
    *,
    strides: Sequence[int] = (1, 1),
    padding: Padding = "SAME",
) -> Array:
    """Returns `max_pool` of `conv2d`, both of one dtype, (B, ceil(H / 2), ceil(W / 2), O).

    On an NVIDIA GPU a 3 x 3 convolution of an image of few channels is a product: of each block's
    4 x 4 pixels with four kernels, one for each of the block's pixels.
    """
    height, width, channels = image_BHWC.shape[1:]
    plain = tuple(strides) == (1, 1) and padding == "SAME" and kernel_HWIO.shape[:2] == (3, 3)
    if plain and channels <= FEW_CHANNELS and height % 2 == width % 2 == 0:
        return _conv_max_pool(image_BHWC, kernel_HWIO)
    return max_pool(conv2d(image_BHWC, kernel_HWIO, strides=strides, padding=padding))


@jax.custom_vjp
def _conv_max_pool(image_BHWC: Array, kernel_HWIO: Array) -> Array:
    return _conv_max_forward(image_BHWC, kernel_HWIO)[0]


def _conv_max_forward(image_BHWC: Array, kernel_HWIO: Array) -> tuple[Array, tuple[Array, ...]]:
    pooled_BHWO, place_BHWO = lax.platform_dependent(
        image_BHWC, kernel_HWIO, cuda=product_max, default=_conv2d_max
    )
    return pooled_BHWO, (image_BHWC, kernel_HWIO, place_BHWO)


def _conv_max_backward(saved: tuple[Array, ...], grad_BHWO: Array) -> tuple[Array, Array]:
    image_BHWC, kernel_HWIO, place_BHWO = saved

    def of_conv2d(image_BHWC: Array, place_BHWO: Array, grad_BHWO: Array) -> Array:
        (conv_grad_BHWO,) = _max_backward(place_BHWO, grad_BHWO)
        pull_back = jax.vjp(lambda kernel_HWIO: conv2d(image_BHWC, kernel_HWIO), kernel_HWIO)[1]
        return pull_back(conv_grad_BHWO)[0]

    kernel_grad_HWIO = lax.platform_dependent(
        image_BHWC, place_BHWO, grad_BHWO, cuda=product_kernel_grad, default=of_conv2d
    )
    # A training has no use for the gradient of its images, and XLA leaves it out.
    (conv_grad_BHWO,) = _max_backward(place_BHWO, grad_BHWO)
    pull_back = jax.vjp(lambda image_BHWC: conv2d(image_BHWC, kernel_HWIO), image_BHWC)[1]
    return pull_back(conv_grad_BHWO)[0], kernel_grad_HWIO


_conv_max_pool.defvjp(_conv_max_forward, _conv_max_backward)


def _conv2d_max(image_BHWC: Array, kernel_HWIO: Array) -> tuple[Array, Array]:
    return _max_and_place(_corners(conv2d(image_BHWC, kernel_HWIO)))


def product_max(image_BHWC: Array, kernel_HWIO: Array) -> tuple[Array, Array]:
    """Returns (pooled_BHWO, place_BHWO): `conv_max_pool` as a product, and each maximum's place.

    The place is uint8, 0 to 3 row by row in a block, the first of equal values.
    """
    kernels_KPO = lax.optimization_barrier(_block_kernels(kernel_HWIO))
    conv_BHWPO = lax.dot_general(_blocks(image_BHWC), kernels_KPO, (((3,), (0,)), ((), ())))
    return _max_and_place([conv_BHWPO[:, :, :, place] for place in range(4)])


def product_kernel_grad(image_BHWC: Array, place_BHWO: Array, grad_BHWO: Array) -> Array:
    """Returns the kernel's gradient (3, 3, I, O), from `product_max`'s places and its gradient."""
    places_111P1 = jnp.arange(4, dtype=jnp.uint8)[None, None, None, :, None]
    is_place_BHWPO = place_BHWO[:, :, :, None] == places_111P1
    grad_BHWPO = jnp.where(is_place_BHWPO, grad_BHWO[:, :, :, None], 0)
    pixels = (0, 1, 2)
    grad_KPO = lax.dot_general(_blocks(image_BHWC), grad_BHWPO, ((pixels, pixels), ((), ())))
    kernel_HWIO = jax.ShapeDtypeStruct(
        (3, 3, image_BHWC.shape[3], grad_BHWO.shape[3]), grad_KPO.dtype
    )
    return jax.linear_transpose(_block_kernels, kernel_HWIO)(grad_KPO)[0]


def _blocks(image_BHWC: Array) -> Array:
    """Returns the 4 x 4 pixels around each 2 x 2 block: (B, H / 2, W / 2, 16 C), zeros outside."""
    batch, height, width, channels = image_BHWC.shape
    padded = jnp.pad(image_BHWC, ((0, 0), (1, 1), (1, 1), (0, 0)))
    # Two pairs of columns, then two pairs of rows: a pair is a reshape, which copies nothing.
    pairs = [padded[:, :, at : at + width] for at in (0, 2)]
    wide = [pair.reshape(batch, height + 2, width // 2, 2 * channels) for pair in pairs]
    wide = jnp.concatenate(wide, -1)
    rows = [wide[:, at : at + height : 2] for at in range(4)]
    return lax.optimization_barrier(jnp.concatenate(rows, -1))


def _block_kernels(kernel_HWIO: Array) -> Array:
    """Returns (16 I, 4, O): the 3 x 3 kernel at each of its four places in 4 x 4 pixels."""
    places = [(row, column) for row in range(2) for column in range(2)]
    kernels = [
        jnp.pad(kernel_HWIO, ((row, 1 - row), (column, 1 - column), (0, 0), (0, 0)))
        for row, column in places
    ]
    return jnp.stack(kernels, 3).reshape(-1, 4, kernel_HWIO.shape[3])
