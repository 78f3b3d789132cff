"""Augmentation and normalisation inside jit: pure functions of pixels and a key per example.

What moves pixels is drawn as a `Placement`, by which `move` moves every field of the example.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from crnn_jax.axes import along_last
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


class Placement(NamedTuple):
    """Where each example is seen.

    Attributes:
      offset_B2: int32, rows and columns by which the seen part lies below and right of the whole.
      mirror_B: uint32, 1 where columns are mirrored; None: nowhere.
    """

    offset_B2: jax.Array
    mirror_B: jax.Array | None


def draw_placement(
    size: tuple[int, int],
    seed: jax.typing.ArrayLike,
    epoch_B: jax.Array,
    example_B: jax.Array,
    *,
    crop_padding: int,
    flip: str,
) -> Placement | None:
    """Returns a random translation and mirror of each example; None where there is neither.

    The translation is that of a padding by `crop_padding` and a uniformly random crop of the first
    size. Columns are mirrored with probability 1/2 ('random'), or so in epoch 0 and from then on in
    every other epoch ('alternating'; Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single
    GPU", arXiv 2404.00498, section 3.6): two epochs in a row then show both sides of each image.

    Args:
      size: (H, W) of the pixels.
      seed: the run's; with epoch and example it decides everything.
      epoch_B: integers.
      example_B: integers.
      crop_padding: largest translation in pixels, static; 0: none.
      flip: one of `FLIPS`, static.

    Raises:
      UserError: a translation by as much as the image's height or width.
    """
    if crop_padding >= min(size):
        raise UserError(
            f"config key 'data.crop_padding' expects less than the image's {size[0]}x{size[1]}, "
            f"found {crop_padding}"
        )
    if crop_padding == 0 and flip == "none":
        return None
    bits_B3 = _bits(example_keys(seed, epoch_B, example_B), 3)
    # 2**32 is so much larger than the range that the remainder's bias cannot be seen.
    offset_B2 = (bits_B3[:, :2] % jnp.uint32(2 * crop_padding + 1)).astype(jnp.int32) - crop_padding
    mirror_B = bits_B3[:, 2] >> 31
    if flip == "alternating":
        first_B = _bits(example_keys(seed, jnp.zeros_like(epoch_B), example_B), 3)[:, 2] >> 31
        mirror_B = first_B ^ (epoch_B.astype(jnp.uint32) & 1)
    return Placement(offset_B2, None if flip == "none" else mirror_B)


FLIPS = ("none", "random", "alternating")


def move(
    array: jax.Array, kind: str, placement: Placement | None, size: tuple[int, int]
) -> jax.Array:
    """Returns a field of a batch as it is seen, of the same shape and dtype.

    Outside the whole image lies its reflection, of pixels and maps alike, so that a map's values
    stay with their pixels. All frames of a clip move as one.

    Args:
      array: (B, *shape) of a `fields.Field`.
      kind: the field's. Boxes are moved, mirrored and cut at the border; a box of which less than
        a quarter is left becomes absent. A value stays as it is.
      placement: None: nothing moves.
      size: (H, W) of the pixels.
    """
    if placement is None or kind == "value":
        return array
    if kind == "boxes":
        return _move_boxes(array, placement, size)
    height, width = size
    row_BH = _reflect(jnp.arange(height)[None, :] + placement.offset_B2[:, :1], height)
    column_BW = _reflect(jnp.arange(width)[None, :] + placement.offset_B2[:, 1:], width)
    if placement.mirror_B is not None:
        is_mirrored_B1 = placement.mirror_B[:, None] == 1
        column_BW = jnp.where(is_mirrored_B1, column_BW[:, ::-1], column_BW)
    index_B = jnp.arange(array.shape[0])
    if array.ndim == 5:
        frame_F = jnp.arange(array.shape[1])[:, None, None]
        index_B = index_B[:, None, None, None]
        return array[index_B, frame_F, row_BH[:, None, :, None], column_BW[:, None, None, :]]
    return array[index_B[:, None, None], row_BH[:, :, None], column_BW[:, None, :]]


_LEAST_OF_BOX = 0.25  # share of its area that must be seen


def _move_boxes(boxes_BM4: jax.Array, placement: Placement, size: tuple[int, int]) -> jax.Array:
    height, width = size
    box_BM4 = boxes_BM4.astype(jnp.float32)
    moved_BM4 = box_BM4 - jnp.tile(placement.offset_B2, 2)[:, None, :]
    if placement.mirror_B is not None:
        top, left, bottom, right = jnp.split(moved_BM4, 4, axis=-1)
        mirrored_BM4 = jnp.concatenate([top, width - right, bottom, width - left], axis=-1)
        is_mirrored_B11 = placement.mirror_B[:, None, None] == 1
        moved_BM4 = jnp.where(is_mirrored_B11, mirrored_BM4, moved_BM4)
    seen_BM4 = jnp.clip(moved_BM4, 0, jnp.array([[[height, width, height, width]]], jnp.float32))

    def area(box_BM4: jax.Array) -> jax.Array:
        side_BM2 = jnp.maximum(box_BM4[..., 2:] - box_BM4[..., :2], 0)
        return side_BM2[..., 0] * side_BM2[..., 1]

    is_kept_BM = (area(seen_BM4) >= _LEAST_OF_BOX * area(box_BM4)) & (area(box_BM4) > 0)
    return jnp.where(is_kept_BM[..., None], seen_BM4, 0).astype(boxes_BM4.dtype)


def cutout(image_BHWC: jax.Array, key_B: jax.Array, size: int) -> jax.Array:
    """Returns each image with a square of `size` pixels set to 0, the mean of normalised images.

    DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks with Cutout",
    whose square may reach over the border; here it lies inside the image, uniformly, as in Page
    2018, "How to Train Your ResNet".

    Args:
      image_BHWC: normalised images, or clips, all frames of which lose the same square.
      key_B: typed keys, one per example, of their own: not those that a placement is drawn from.
      size: in pixels, static; 0: none.

    Raises:
      UserError: a square as large as the image's height or width.
    """
    height, width = image_BHWC.shape[-3:-1]
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
        offset = jnp.arange(side)[None, :] - first_B[:, None]
        spans.append((offset >= 0) & (offset < size))
    inside_BHW = spans[0][:, :, None] & spans[1][:, None, :]
    return jnp.where(
        over_pixels(inside_BHW, image_BHWC), jnp.zeros((), image_BHWC.dtype), image_BHWC
    )


def over_pixels(mask_BHW: jax.Array, image_BHWC: jax.Array) -> jax.Array:
    """Returns the mask with axes of size 1 for channels and, of clips, for frames."""
    mask_BHW1 = mask_BHW[..., None]
    return mask_BHW1 if image_BHWC.ndim == 4 else mask_BHW1[:, None]


TTA = {"none": 1, "mirror": 2, "mirror_shift": 6}  # how many views `views` returns


def views(image_BHWC: jax.Array, tta: str) -> list[tuple[float, jax.Array]]:
    """Returns (weight, image_BHWC) of the views of test-time augmentation; weights add up to 1.

    'mirror': the image and its mirror. 'mirror_shift': they count half, and so do, together, the
    image and its mirror moved by one pixel up and left, and down and right, with reflected borders;
    as airbench's `tta_level` 1 and 2 (Jordan 2024, arXiv 2404.00498, section 3.5). 'none': the
    image alone.

    Args:
      image_BHWC: any dtype; an image of one row or column is not moved along it. Clips too.
      tta: one of `TTA`, static.
    """
    if tta == "none":
        return [(1.0, image_BHWC)]
    pair = [image_BHWC, image_BHWC[..., ::-1, :]]
    if tta == "mirror":
        return [(0.5, image_BHWC) for image_BHWC in pair]
    height, width = image_BHWC.shape[-3:-1]
    found = [(0.25, image_BHWC) for image_BHWC in pair]
    for shift in (1, -1):
        row_H = _reflect(jnp.arange(height) + shift, height) if height > 1 else jnp.arange(1)
        column_W = _reflect(jnp.arange(width) + shift, width) if width > 1 else jnp.arange(1)
        found += [(0.125, image_BHWC[..., row_H, :, :][..., column_W, :]) for image_BHWC in pair]
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
      dtype: the result's, float32 or bfloat16.
    """
    mean, std = along_last(mean_C, image_BHWC), along_last(std_C, image_BHWC)
    return ((image_BHWC.astype(jnp.float32) - mean) / std).astype(dtype)
