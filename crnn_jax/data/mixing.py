"""Mixup, CutMix and random erasing on the device: what shows an example with parts of another.

Pure functions inside jit. The other example is the neighbour in the batch (0 with 1, 2 with 3):
the random order has chosen it, and it is on the same device, so that nothing is exchanged.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from crnn_jax.data.transforms import over_pixels
from crnn_jax.errors import UserError

_ERASED_AREA = (0.02, 1 / 3)  # share of the image; Zhong et al. 2020, section 4.1
_ERASED_RATIO = 10 / 3  # height / width is within its inverse and it


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How examples are mixed; static.

    Attributes:
      mixup: alpha of Beta(alpha, alpha), from which the share of the example itself is drawn (Zhang
        et al. 2018, "mixup: Beyond Empirical Risk Minimization"); 0: none.
      cutmix: the same of the area of CutMix (Yun et al. 2019); 0: none. With both, each example
        has one of the two, with equal probability.
      erase: probability that a random rectangle is set to the mean (Zhong et al. 2020, "Random
        Erasing Data Augmentation", who prefer noise).
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    erase: float = 0.0

    @property
    def mixes(self) -> bool:
        """Returns whether labels are mixed."""
        return self.mixup > 0 or self.cutmix > 0


class Mix(NamedTuple):
    """How each example of a batch is mixed with its neighbour: one draw for pixels and targets."""

    share_B: jax.Array  # the example's own, in 0..1
    inside_BHW: jax.Array  # where CutMix shows the other
    is_cutmix_B: jax.Array


def mix_pixels(mix: Mix, image_BHWC: jax.Array) -> jax.Array:
    """Returns the images (or clips) mixed with their neighbours, of the same shape and dtype.

    Args:
      mix: what `draw_mix` returns.
      image_BHWC: normalised.
    """
    other_BHWC = neighbour(image_BHWC)
    share_B111 = mix.share_B.reshape(-1, *[1] * (image_BHWC.ndim - 1)).astype(image_BHWC.dtype)
    mixed_BHWC = share_B111 * image_BHWC + (1 - share_B111) * other_BHWC
    cut_BHWC = jnp.where(over_pixels(mix.inside_BHW, image_BHWC), other_BHWC, image_BHWC)
    is_cutmix_B111 = mix.is_cutmix_B.reshape(share_B111.shape)
    return jnp.where(is_cutmix_B111, cut_BHWC, mixed_BHWC)


def erase(image_BHWC: jax.Array, key_B: jax.Array, probability: float) -> jax.Array:
    """Returns the images, each with probability `probability` with a rectangle set to 0.

    Its area is uniform in 2% to 33% of the image, its ratio log-uniform in 0.3 to 3.3, its place
    uniform; where it is higher or wider than the image it is cut.

    Args:
      image_BHWC: normalised images, or clips, whose mean is 0.
      key_B: typed keys, one per example.
      probability: static.
    """
    height, width = image_BHWC.shape[-3:-1]
    uniform_B5 = jax.vmap(lambda key: jax.random.uniform(key, (5,)))(key_B)
    low, high = _ERASED_AREA
    area_B = height * width * (low + (high - low) * uniform_B5[:, 0])
    ratio_B = _ERASED_RATIO ** (2 * uniform_B5[:, 1] - 1)
    inside_BHW = _inside(
        (height, width), jnp.sqrt(area_B * ratio_B), jnp.sqrt(area_B / ratio_B), uniform_B5[:, 2:4]
    )
    inside_BHW &= (uniform_B5[:, 4] < probability)[:, None, None]
    return jnp.where(
        over_pixels(inside_BHW, image_BHWC), jnp.zeros((), image_BHWC.dtype), image_BHWC
    )


def draw_mix(mixing: Mixing, size: tuple[int, int], weight_B: jax.Array, key_B: jax.Array) -> Mix:
    """Returns how each example is mixed; `share_B` is what a loss weighs its own target by.

    Args:
      mixing: with mixup, CutMix or both.
      size: (H, W) of the pixels.
      weight_B: the examples'; a neighbour of weight 0 has no share.
      key_B: typed keys, one per example.

    Raises:
      UserError: a batch of an odd number of examples.
    """
    height, width = size
    batch = len(weight_B)
    if batch % 2:
        raise UserError(
            "config key 'batch_size' expects an even number with 'data.mixup' or 'data.cutmix', "
            f"found {batch}"
        )

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        mixup_key, cutmix_key, other_key = jax.random.split(key, 3)
        mixup, cutmix = (
            jax.random.beta(key, alpha, alpha) if alpha > 0 else jnp.ones(())
            for key, alpha in ((mixup_key, mixing.mixup), (cutmix_key, mixing.cutmix))
        )
        return mixup, cutmix, jax.random.uniform(other_key, (3,))

    mixup_B, cutmix_B, uniform_B3 = jax.vmap(one)(key_B)
    chance = 0.5 if mixing.mixup > 0 and mixing.cutmix > 0 else float(mixing.cutmix > 0)
    is_cutmix_B = uniform_B3[:, 2] < chance
    side_B = jnp.sqrt(1 - cutmix_B)
    inside_BHW = _inside((height, width), height * side_B, width * side_B, uniform_B3[:, :2])
    has_other_B = neighbour(weight_B) > 0
    inside_BHW &= has_other_B[:, None, None]
    # By the pixels that are there, as the paper's own program does: a rectangle may be rounded.
    cut_share_B = 1 - jnp.mean(inside_BHW.astype(jnp.float32), axis=(1, 2))
    share_B = jnp.where(is_cutmix_B, cut_share_B, jnp.where(has_other_B, mixup_B, 1.0))
    return Mix(share_B, inside_BHW, is_cutmix_B)


def _inside(
    size: tuple[int, int], height_B: jax.Array, width_B: jax.Array, place_B2: jax.Array
) -> jax.Array:
    """Returns inside_BHW, a mask of one rectangle of whole pixels an image, within the image."""
    spans = []
    for side, length_B, place_B in zip(size, (height_B, width_B), place_B2.T, strict=True):
        count_B = jnp.clip(jnp.round(length_B), 0, side)
        first_B = jnp.floor(place_B * (side - count_B + 1))
        offset_BS = jnp.arange(side)[None, :] - first_B[:, None]
        spans.append((offset_BS >= 0) & (offset_BS < count_B[:, None]))
    return spans[0][:, :, None] & spans[1][:, None, :]


def neighbour(x: jax.Array) -> jax.Array:
    """Returns the rows (B, ...) with 0 and 1, 2 and 3, ... exchanged."""
    # Not a gather by index, for which the rows of all devices would be brought together.
    return x.reshape(-1, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)
