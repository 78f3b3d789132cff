"""The weight gradient of a convolution on a CPU, chunk by chunk.

A loop over chunks of the batch small enough to stay in cache, one matmul each; of 3 x 3 kernels
with fewer multiplications. `benchmarks/conv_gradient.py` measures it.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from crnn_jax import processor
from crnn_jax.mesh import traced_batch_parts

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]

# Rows (output pixels) of one chunk: fewer leave the matmul too short, more leave the cache.
# Measured from 512 to 2048, for Winograd's from 1024 to 8192; planes take 16 times as many.
CHUNK_ROWS = 1024
WINOGRAD_ROWS = 2048
SHIFTED_BYTES = 2**24  # a chunk's shifted copies, whose rows are as many as fit
PLANE_CHANNELS = 16  # an image of fewer is read as planes, a channel each


def kernel_gradient(
    image_BHWC: jax.Array, grad_BHWO: jax.Array, *, window: Pair, strides: Pair, pads: Pads
) -> jax.Array:
    """Returns the kernel's gradient HWIO in the image's dtype, summed in f32 over chunks."""
    batch, height, width, _ = grad_BHWO.shape
    # Other passes read both in another shape: without a barrier XLA computes them for each.
    image_BHWC, grad_BHWO = lax.optimization_barrier((image_BHWC, grad_BHWO))
    chunk_rows, is_winograd = CHUNK_ROWS, False
    if image_BHWC.shape[-1] < PLANE_CHANNELS:
        chunk_rows *= 16
        products = functools.partial(_plane_products, window=window, strides=strides, pads=pads)
    elif _has_shifted_products(image_BHWC.dtype, window, strides, pads):
        channels = image_BHWC.shape[-1] + grad_BHWO.shape[-1]
        chunk_rows, products = SHIFTED_BYTES // (6 * channels), _shifted_products
    elif (window, strides) == ((3, 3), (1, 1)):
        chunk_rows, is_winograd = WINOGRAD_ROWS, True
        products = functools.partial(_winograd_products, pads=pads)
    else:
        products = functools.partial(_patch_products, window=window, strides=strides, pads=pads)
    # The batch may be spread over the devices: each then has its share of every chunk.
    devices = traced_batch_parts()
    devices = devices if batch % devices == 0 else 1
    fewest = -(-batch // (devices * max(1, chunk_rows // (height * width))))
    # A number of chunks that divides the batch, where one is near, saves filling it up with zeros.
    divisors = (n for n in range(fewest, 2 * fewest) if batch // devices % n == 0)
    chunks = next(divisors, fewest)
    size = -(-batch // (devices * chunks)) * devices

    def split(array_BHWC: jax.Array) -> jax.Array:
        # A chunk takes every chunks-th image: axis 0 stays sharded as the batch was.
        filled = jnp.pad(array_BHWC, ((0, size * chunks - batch), (0, 0), (0, 0), (0, 0)))
        return filled.reshape(size, chunks, *array_BHWC.shape[1:])

    images, grads = split(image_BHWC), split(grad_BHWO)

    def of_chunk(index: jax.Array | int) -> jax.Array:
        image = lax.dynamic_index_in_dim(images, index, 1, keepdims=False)
        grad = lax.dynamic_index_in_dim(grads, index, 1, keepdims=False)
        return products(image, grad)

    def add_chunk(index: jax.Array, total: jax.Array) -> jax.Array:
        return total + of_chunk(index)

    zeros = jnp.zeros_like(jax.eval_shape(of_chunk, 0))
    total = lax.fori_loop(0, chunks, add_chunk, zeros)
    # The sum is in the order of the products; what follows moves the whole kernel, once.
    if is_winograd:
        total = _kernel_of_products(total)
    (rows, columns), inputs, outputs = window, image_BHWC.shape[-1], grad_BHWO.shape[-1]
    return total.reshape(rows, columns, inputs, outputs).astype(image_BHWC.dtype)


def _has_shifted_products(dtype: jnp.dtype, window: Pair, strides: Pair, pads: Pads) -> bool:
    """Returns whether `_shifted_products` is what the kernel's gradient is made of."""
    is_plain = (window, strides, pads) == ((3, 3), (1, 1), ((1, 1), (1, 1)))
    return is_plain and dtype == jnp.bfloat16 and processor.has_bfloat16_tiles()


def _shifted_products(image_BHWC: jax.Array, grad_BHWO: jax.Array) -> jax.Array:
    """Returns HWIO in f32 of a 3 x 3 kernel: one matmul of the image and the gradient, each thrice.

    The image shifted by a column to either side, against the gradient shifted by a row: of nine
    shifts of the image only three are copied, without a sum that Winograd's would need first.
    """

    def shifted(array: jax.Array, by: int, axis: int) -> jax.Array:
        pads = [(0, 0, 0)] * array.ndim
        pads[axis] = (by, -by, 0)
        return lax.pad(array, jnp.zeros((), array.dtype), pads)

    columns = jnp.concatenate([shifted(image_BHWC, 1 - at, 2) for at in range(3)], -1)
    rows = jnp.concatenate([shifted(grad_BHWO, at - 1, 1) for at in range(3)], -1)
    columns_NK = columns.reshape(-1, columns.shape[-1])
    rows_NO = rows.reshape(-1, rows.shape[-1])
    columns_NK, rows_NO = lax.optimization_barrier((columns_NK, rows_NO))
    # As of Winograd's products: it leaves in bf16, summed in f32, and the chunks are too.
    product = lax.dot_general(columns_NK, rows_NO, (((0,), (0,)), ((), ()))).astype(jnp.float32)
    inputs, outputs = image_BHWC.shape[-1], grad_BHWO.shape[-1]
    return product.reshape(3, inputs, 3, outputs).transpose(2, 0, 1, 3)


def _winograd_products(image_BHWC: jax.Array, grad_BHWO: jax.Array, pads: Pads) -> jax.Array:
    """Returns PIO in f32, P = 16: Winograd's sums, which `_kernel_of_products` makes a kernel of.

    F(3 x 3, 2 x 2) (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks",
    section 4): each 2 x 2 tile of the output gradient with its 4 x 4 pixels of the image, 16
    multiplications for 36. The last transform is linear, so it waits for the sum over all tiles.
    """
    odd_rows, odd_columns = (size % 2 for size in grad_BHWO.shape[1:3])
    (top, bottom), (left, right) = pads
    image_pads = (0, 0), (top, bottom + odd_rows), (left, right + odd_columns), (0, 0)
    grad_pads = (0, 0), (0, odd_rows), (0, odd_columns), (0, 0)
    image = jnp.pad(image_BHWC.astype(jnp.float32), image_pads)
    grad = jnp.pad(grad_BHWO.astype(jnp.float32), grad_pads)
    # Columns first. XLA would fuse both steps, and compute the first four times.
    image = _image_tiles(lax.optimization_barrier(_image_tiles(image, -2)), -3)
    grad = _grad_tiles(_grad_tiles(grad, -2), -3)
    image_PNI = image.reshape(16, -1, image.shape[-1])
    grad_PNO = grad.reshape(16, -1, grad.shape[-1])
    if image_BHWC.dtype == jnp.bfloat16:
        # The tiles are summed in f32 and rounded once. A product that leaves in bf16 is twice as
        # fast as one that leaves in f32; it sums in f32, and so does the loop over the chunks.
        tiles = image_PNI.astype(jnp.bfloat16), grad_PNO.astype(jnp.bfloat16)
        image_PNI, grad_PNO = lax.optimization_barrier(tiles)
    product_PIO = lax.dot_general(image_PNI, grad_PNO, (((1,), (1,)), ((0,), (0,))))
    return product_PIO.astype(jnp.float32)


def _image_tiles(image: jax.Array, axis: int) -> jax.Array:
    """Returns B'd, stacked first, of the tiles of 4 along an axis, two apart."""
    last = image.shape[axis] - 3
    d0, d1, d2, d3 = (lax.slice_in_dim(image, at, last + at, 2, axis) for at in range(4))
    return jnp.stack([d0 - d2, d1 + d2, d2 - d1, d3 - d1])


def _grad_tiles(grad: jax.Array, axis: int) -> jax.Array:
    """Returns Gg without its halves, stacked first, of the tiles of 2 along an axis."""
    g0, g1 = (lax.slice_in_dim(grad, at, None, 2, axis) for at in range(2))
    return jnp.stack([g0, g0 + g1, g0 - g1, g1])


def _kernel_of_products(total_PIO: jax.Array) -> jax.Array:
    """Returns the kernel's gradient HWIO, A'mA with the halves that `_grad_tiles` leaves out."""
    total = total_PIO.reshape(4, 4, *total_PIO.shape[1:])
    for _ in range(2):  # rows, then columns
        m0, m1, m2, m3 = total
        both, other = (m1 + m2) / 2, (m1 - m2) / 2
        total = jnp.stack([m0 + both, other, both + m3], 1)
    return total


def _patch_products(
    image_BHWC: jax.Array, grad_BHWO: jax.Array, window: Pair, strides: Pair, pads: Pads
) -> jax.Array:
    """Returns the chunk's gradient in f32, one (rows x columns x I) by O matmul of all patches."""
    image_BHWC = jnp.pad(image_BHWC, ((0, 0), *pads, (0, 0)))
    height, width = grad_BHWO.shape[1:3]
    (rows, columns), (down, right) = window, strides
    wide = [image_BHWC[:, :, at : at + (width - 1) * right + 1 : right] for at in range(columns)]
    wide = jnp.concatenate(wide, -1)
    patches = [wide[:, at : at + (height - 1) * down + 1 : down] for at in range(rows)]
    pixels = (((0, 1, 2), (0, 1, 2)), ((), ()))
    patches_BHWK = jnp.concatenate(patches, -1)
    return lax.dot_general(patches_BHWK, grad_BHWO, pixels, preferred_element_type=jnp.float32)


def _plane_products(
    image_BHWC: jax.Array, grad_BHWO: jax.Array, window: Pair, strides: Pair, pads: Pads
) -> jax.Array:
    """Returns what `_patch_products` does, with each channel of the image a plane of its own.

    For few channels: what is copied then are rows of pixels, not a few numbers at a time, and the
    matmul needs no transposition of the patches.
    """
    image_CBHW = jnp.pad(image_BHWC, ((0, 0), *pads, (0, 0))).transpose(3, 0, 1, 2)
    height, width = grad_BHWO.shape[1:3]
    (rows, columns), (down, right) = window, strides
    wide = [image_CBHW[..., at : at + (width - 1) * right + 1 : right] for at in range(columns)]
    # XLA would fuse both steps into one that copies number by number.
    wide = lax.optimization_barrier(jnp.stack(wide))
    patches = [wide[..., at : at + (height - 1) * down + 1 : down, :] for at in range(rows)]
    patches_PN = jnp.stack(patches).reshape(rows * columns * image_BHWC.shape[3], -1)
    grad_NO = grad_BHWO.reshape(-1, grad_BHWO.shape[3])
    return lax.dot(patches_PN, grad_NO, preferred_element_type=jnp.float32)
