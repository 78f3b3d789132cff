"""Which part of an input decides: published methods, each a function of a score alone.

A score is a function of a batch of inputs, one number an example, in which examples do not see each
other: one gradient of the sum then serves them all.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array
Score = Callable[[Array], Array]
Gradient = Callable[[Array], Array]


def class_score(output_of: Callable[[Array], Any], class_B: Array) -> Score:
    """Returns the score S_c before the softmax, float32 (B,).

    Args:
      output_of: a model's `Output` of an input; for LRCN the score is the log of the steps' mean
        probability.
      class_B: int, whose score.
    """

    def score(value: Array) -> Array:
        logits_BK = output_of(value).logits_BK.astype(jnp.float32)
        return jnp.take_along_axis(logits_BK, class_B[:, None], axis=1)[:, 0]

    return score


def gradient(score: Score, value: Array) -> Array:
    """Returns dS / d value, of the value's shape.

    Simonyan, Vedaldi and Zisserman 2013, "Deep Inside Convolutional Networks", section 3.1.
    """
    return jax.grad(lambda value: jnp.sum(score(value)))(value)


def smooth_gradient(
    gradient_of: Gradient,
    image_BHWC: Array,
    key: Array,
    *,
    num_samples: int = 25,
    noise: float = 0.15,
) -> Array:
    """Returns the mean gradient of copies of the image with noise added, BHWC.

    Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise". They advise 10% to 20% of
    noise and find little gain above 50 samples.

    Args:
      gradient_of: images -> their gradients; called for each sample, so compile it.
      image_BHWC: float32.
      key: decides the noise.
      num_samples: n.
      noise: the standard deviation, as a share of each image's largest minus its smallest value.
    """
    axes = tuple(range(1, image_BHWC.ndim))
    spread = jnp.max(image_BHWC, axes, keepdims=True) - jnp.min(image_BHWC, axes, keepdims=True)
    total = jnp.zeros_like(image_BHWC)
    for sample in jax.random.split(key, num_samples):
        drawn = jax.random.normal(sample, image_BHWC.shape)
        total += gradient_of(image_BHWC + noise * spread * drawn)
    return total / num_samples


def integrated_gradients(
    gradient_of: Gradient, image_BHWC: Array, baseline_BHWC: Array, *, num_steps: int = 32
) -> Array:
    """Returns (image - baseline) times the mean gradient on the straight line between them, BHWC.

    Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks", Eq. 1, by the
    midpoint rule. The sum over an image approaches S(image) - S(baseline) with more steps.

    Args:
      gradient_of: images -> their gradients; called for each step, so compile it.
      image_BHWC: float32.
      baseline_BHWC: what stands for nothing to be seen.
      num_steps: gradients on the line.
    """
    difference, total = image_BHWC - baseline_BHWC, jnp.zeros_like(image_BHWC)
    for step in range(num_steps):
        total += gradient_of(baseline_BHWC + (step + 0.5) / num_steps * difference)
    return difference * total / num_steps


def rise(
    probability_of: Score,
    image_BHWC: Array,
    baseline_BHWC: Array,
    key: Array,
    *,
    num_masks: int = 1000,
    num_cells: int = 8,
    share: float = 0.5,
) -> Array:
    """Returns map_BHW, how much a pixel that is shown raises the class's probability.

    Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", Eq. 6: the mean probability of masked images, weighted by what their masks show of the
    pixel. Two things differ, and neither changes an order for many masks: the weights of a pixel
    sum to one over the masks that were drawn, not over those expected, and the mean over all masks
    is subtracted, so that 0 says nothing.

    Args:
      probability_of: images -> the class's probability (B,).
      image_BHWC: float32.
      baseline_BHWC: what stands for nothing to be seen.
      key: decides the masks, which all images of the batch share.
      num_masks: N.
      num_cells: h = w, cells of a mask along each side.
      share: p, of the cells that are shown.
    """
    height, width = image_BHWC.shape[1:3]

    def step(total: tuple[Array, Array, Array], key: Array) -> tuple[Any, None]:
        weighted_BHW, weight_1HW, all_B11 = total
        mask_1HW = _soft_mask(key, height, width, num_cells, share)[None]
        shown = mask_1HW[..., None]
        masked_BHWC = baseline_BHWC + shown * (image_BHWC - baseline_BHWC)
        probability_B11 = probability_of(masked_BHWC)[:, None, None]
        weighted_BHW += probability_B11 * mask_1HW
        return (weighted_BHW, weight_1HW + mask_1HW, all_B11 + probability_B11), None

    nothing = jnp.zeros(image_BHWC.shape[:3])
    start = nothing, nothing[:1], nothing[:, :1, :1]
    total, _ = jax.lax.scan(step, start, jax.random.split(key, num_masks))
    weighted_BHW, weight_1HW, all_B11 = total
    return weighted_BHW / weight_1HW - all_B11 / num_masks


def _soft_mask(key: Array, height: int, width: int, num_cells: int, share: float) -> Array:
    """Returns mask_HW in 0..1: random cells, enlarged and shifted, as section 3.2 of RISE does."""
    cells_key, *shift_keys = jax.random.split(key, 3)
    count = num_cells + 1  # one more, so that a shifted window stays inside
    cells = jax.random.bernoulli(cells_key, share, (count, count)).astype(jnp.float32)
    sizes = [-(-size // num_cells) for size in (height, width)]  # a cell's, rounded up
    large = jax.image.resize(cells, [count * size for size in sizes], "bilinear")
    start = [jax.random.randint(k, (), 0, size) for k, size in zip(shift_keys, sizes, strict=True)]
    return jax.lax.dynamic_slice(large, start, (height, width))


def grad_cam(score: Score, map_BHWC: Array) -> Array:
    """Returns map_BHW, relu(sum_c a_c A_c) of a feature map A, where a_c is the mean of dS / dA_c.

    Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", Eqs. 1 and 2.

    Args:
      score: reads feature maps.
      map_BHWC: any float dtype.
    """
    weight_B11C = jnp.mean(gradient(score, map_BHWC), axis=(1, 2), keepdims=True)
    return nn.relu(jnp.sum((weight_B11C * map_BHWC).astype(jnp.float32), axis=-1))


def step_relevance(score: Score, feature_BTD: Array) -> Array:
    """Returns relevance_BT, the length of dS / dx_t for what a recurrence reads at each step.

    Args:
      score: reads sequences.
      feature_BTD: any float dtype.
    """
    return jnp.linalg.norm(gradient(score, feature_BTD).astype(jnp.float32), axis=-1)


def largest_channel(gradient_BHWC: Array) -> Array:
    """Returns map_BHW, the largest |gradient| of the channels: M_ij of Simonyan et al."""
    return jnp.max(jnp.abs(gradient_BHWC), axis=-1)


def enlarge(map_BHW: Array, height: int, width: int) -> Array:
    """Returns the map with `height` rows and `width` columns, bilinearly."""
    return jax.image.resize(map_BHW, (map_BHW.shape[0], height, width), "bilinear")
