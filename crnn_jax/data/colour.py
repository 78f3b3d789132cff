"""RandAugment's operations on colours, on the device: pure functions inside jit.

Cubuk et al. 2020, "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space".
Its rotations, shears and translations are left out: on an accelerator each is a gather of every
pixel, and random crops and mirrors move the image already.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601
MAX_MAGNITUDE = 10.0


def rand_augment(
    image_BHWC: jax.Array, key_B: jax.Array, *, num_ops: int, magnitude: float
) -> jax.Array:
    """Returns each image after `num_ops` operations, each drawn anew from `OPERATIONS`.

    Args:
      image_BHWC: uint8, gray or RGB; of a clip (B, F, H, W, C) all frames change alike.
      key_B: typed keys, one per example.
      num_ops: static.
      magnitude: 0..10, static; what changes colours in two directions does so at random.

    Returns:
      Images of the same shape, uint8.
    """
    strength = magnitude / MAX_MAGNITUDE

    def one(image_HWC: jax.Array, key: jax.Array) -> jax.Array:
        kind_key, sign_key = jax.random.split(key)
        kind_N = jax.random.randint(kind_key, (num_ops,), 0, len(OPERATIONS))
        sign_N = jnp.where(jax.random.bernoulli(sign_key, 0.5, (num_ops,)), 1.0, -1.0)
        for kind, sign in zip(kind_N, sign_N, strict=True):
            changed_HWC = jax.lax.switch(kind, OPERATIONS, image_HWC, sign * strength)
            image_HWC = jnp.clip(changed_HWC, 0, 255)
        return image_HWC

    # The frames of a clip, one above the other, are an image.
    tall_BHWC = image_BHWC.reshape(image_BHWC.shape[0], -1, *image_BHWC.shape[-2:])
    changed_BHWC = jnp.round(jax.vmap(one)(tall_BHWC.astype(jnp.float32), key_B))
    return changed_BHWC.astype(jnp.uint8).reshape(image_BHWC.shape)


def _gray(image_HWC: jax.Array) -> jax.Array:
    if image_HWC.shape[-1] == 1:
        return image_HWC
    return image_HWC @ jnp.array(_LUMA, jnp.float32)[:, None]


def _blend(first: jax.Array, image_HWC: jax.Array, signed: jax.Array) -> jax.Array:
    """Returns what lies 1 + 0.9 * signed of the way from `first` to the image, or beyond it."""
    return first + (1 + 0.9 * signed) * (image_HWC - first)


def _identity(image_HWC: jax.Array, signed: jax.Array) -> jax.Array:
    return image_HWC


def _brightness(image_HWC: jax.Array, signed: jax.Array) -> jax.Array:
    return _blend(jnp.zeros_like(image_HWC), image_HWC, signed)


def _saturation(image_HWC: jax.Array, signed: jax.Array) -> jax.Array:
    return _blend(_gray(image_HWC), image_HWC, signed)


def _contrast(image_HWC: jax.Array, signed: jax.Array) -> jax.Array:
    return _blend(jnp.mean(_gray(image_HWC)), image_HWC, signed)


def _posterize(image_HWC: jax.Array, signed: jax.Array) -> jax.Array:
    step = 2.0 ** jnp.round(4 * jnp.abs(signed))  # keeps 8 to 4 bits
    return jnp.floor(image_HWC / step) * step


def _solarize(image_HWC: jax.Array, signed: jax.Array) -> jax.Array:
    return jnp.where(image_HWC >= 256 * (1 - jnp.abs(signed)), 255 - image_HWC, image_HWC)


def _auto_contrast(image_HWC: jax.Array, signed: jax.Array) -> jax.Array:
    low_11C = image_HWC.min((0, 1), keepdims=True)
    high_11C = image_HWC.max((0, 1), keepdims=True)
    stretched_HWC = (image_HWC - low_11C) * 255 / jnp.maximum(high_11C - low_11C, 1)
    return jnp.where(high_11C > low_11C, stretched_HWC, image_HWC)


OPERATIONS: tuple[Callable[[jax.Array, jax.Array], jax.Array], ...] = (
    _identity,
    _brightness,
    _saturation,
    _contrast,
    _posterize,
    _solarize,
    _auto_contrast,
)
