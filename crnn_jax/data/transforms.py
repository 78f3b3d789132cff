"""Augmentation and normalisation inside jit: pure functions of the image and a key per example."""

import jax
import jax.numpy as jnp

from crnn_jax.errors import UserError


def example_keys(seed: jax.typing.ArrayLike, epoch_B: jax.Array, example_B: jax.Array) -> jax.Array:
    """Returns one typed PRNG key per example, key_B, a function of (seed, epoch, example) alone.

    The generator is named, since others need not be invariant under vmap: an example's key must
    not depend on its place in the batch.
    """
    key = jax.random.key(seed, impl="threefry2x32")

    def one(epoch: jax.Array, example: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(key, epoch), example)

    return jax.vmap(one)(epoch_B, example_B)


def augment(
    image_BHWC: jax.Array,
    seed: jax.typing.ArrayLike,
    epoch_B: jax.Array,
    example_B: jax.Array,
    *,
    crop_padding: int,
    flip: str,
) -> jax.Array:
    """Returns each image translated at random, with reflected borders, and mirrored.

    Equal to a reflection padding by `crop_padding`, a uniformly random crop of the first size, and
    a mirror of the columns: with probability 1/2 ('random'), or so in epoch 0 and from then on in
    every other epoch ('alternating'; Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single
    GPU", arXiv 2404.00498, section 3.6): two epochs in a row then show both sides of each image.

    Args:
      image_BHWC: of any dtype.
      seed: of the run; with epoch and example it decides everything.
      epoch_B: integers.
      example_B: integers.
      crop_padding: largest translation in pixels, static; 0: none.
      flip: 'none', 'random' or 'alternating', static.

    Returns:
      Images of the same shape and dtype; without translation and mirror, the same array.

    Raises:
      UserError: a translation by as much as the image's height or width.
    """
    batch, height, width, _ = image_BHWC.shape
    if crop_padding >= min(height, width):
        raise UserError(
            f"config key 'data.crop_padding' expects less than the image's {height}x{width}, "
            f"found {crop_padding}"
        )
    if crop_padding == 0 and flip == "none":
        return image_BHWC
    bits_B3 = _bits(example_keys(seed, epoch_B, example_B), 3)
    # 2**32 is so much larger than the range that the remainder's bias cannot be seen.
    offset_B2 = (bits_B3[:, :2] % jnp.uint32(2 * crop_padding + 1)).astype(jnp.int32) - crop_padding
    row_BH = _reflect(jnp.arange(height)[None, :] + offset_B2[:, :1], height)
    column_BW = _reflect(jnp.arange(width)[None, :] + offset_B2[:, 1:], width)
    mirror_B = bits_B3[:, 2] >> 31
    if flip == "alternating":
        first_B = _bits(example_keys(seed, jnp.zeros_like(epoch_B), example_B), 3)[:, 2] >> 31
        mirror_B = first_B ^ (epoch_B.astype(jnp.uint32) & 1)
    if flip != "none":
        column_BW = jnp.where(mirror_B[:, None] == 1, column_BW[:, ::-1], column_BW)
    index_B = jnp.arange(batch)[:, None, None]
    return image_BHWC[index_B, row_BH[:, :, None], column_BW[:, None, :]]


def cutout(image_BHWC: jax.Array, key_B: jax.Array, size: int) -> jax.Array:
    """Returns each image with a square of `size` pixels set to 0, the mean of normalised images.

    DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks with Cutout",
    whose square may reach over the border; here it lies inside the image, uniformly, as in Page
    2018, "How to Train Your ResNet".

    Args:
      image_BHWC: normalised images.
      key_B: typed keys, one per example, of their own: not those that `augment` draws from.
      size: in pixels, static; 0: none.

    Raises:
      UserError: a square as large as the image's height or width.
    """
    height, width = image_BHWC.shape[1:3]
    if size >= min(height, width):
        raise UserError(
            f"config key 'data.cutout' expects less than the image's {height}x{width}, found {size}"
        )
    if size == 0:
        return image_BHWC
    bits_B2 = _bits(key_B, 2)
    spans = []
    for side, bits_B in ((height, bits_B2[:, 0]), (width, bits_B2[:, 1])):
        first_B = (bits_B % jnp.uint32(side - size + 1)).astype(jnp.int32)
        offset = jnp.arange(side) - first_B[:, None]
        spans.append((offset >= 0) & (offset < size))
    inside_BHW = spans[0][:, :, None] & spans[1][:, None, :]
    return jnp.where(inside_BHW[..., None], jnp.zeros((), image_BHWC.dtype), image_BHWC)


def views(image_BHWC: jax.Array, tta: str) -> list[tuple[float, jax.Array]]:
    """Returns (weight, image_BHWC) of the views of test-time augmentation; weights add up to 1.

    'mirror': the image and its mirror. 'mirror_shift': they count half, and so do, together, the
    image and its mirror moved by one pixel up and left, and down and right, with reflected borders;
    as airbench's `tta_level` 1 and 2 (Jordan 2024, arXiv 2404.00498, section 3.5). 'none': the
    image alone.

    Args:
      image_BHWC: of any dtype; an image of one row or column is not moved along it.
      tta: static.
    """
    if tta == "none":
        return [(1.0, image_BHWC)]
    pair = [image_BHWC, image_BHWC[:, :, ::-1]]
    if tta == "mirror":
        return [(0.5, image_BHWC) for image_BHWC in pair]
    height, width = image_BHWC.shape[1:3]
    found = [(0.25, image_BHWC) for image_BHWC in pair]
    for shift in (1, -1):
        row_H = _reflect(jnp.arange(height) + shift, height) if height > 1 else jnp.arange(1)
        column_W = _reflect(jnp.arange(width) + shift, width) if width > 1 else jnp.arange(1)
        found += [(0.125, image_BHWC[:, row_H][:, :, column_W]) for image_BHWC in pair]
    return found


def _bits(key_B: jax.Array, count: int) -> jax.Array:
    return jax.vmap(lambda key: jax.random.bits(key, (count,), jnp.uint32))(key_B)


def _reflect(index: jax.Array, size: int) -> jax.Array:
    """Mirrors indices in -(size-1)..2*(size-1) at the borders, which are not repeated."""
    index = jnp.abs(index)
    return jnp.where(index >= size, 2 * (size - 1) - index, index)


def normalize(
    image_BHWC: jax.Array, mean_C: jax.Array, std_C: jax.Array, dtype: jax.typing.DTypeLike
) -> jax.Array:
    """Returns (image - mean) / std per channel, computed in float32, as `dtype`.

    Args:
      image_BHWC: uint8.
      mean_C: float32, in 0..255.
      std_C: float32, in the same units, above 0.
      dtype: of the result, float32 or bfloat16.
    """
    return ((image_BHWC.astype(jnp.float32) - mean_C) / std_C).astype(dtype)
