"""Whether a map of relevance can be believed: randomised weights, pixels taken away or added."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

Array = jax.Array
# From the scores down to the image, as Adebayo et al. randomise; the trunk is the rest.
_FROM_THE_TOP = ("head", "readout", "recurrent")


def randomised(
    model: nn.Module, weights: Any, pixels: Array, key: Array
) -> list[tuple[str, dict[str, Any]]]:
    """Returns (what is random, the variables) of a cascade: the head, more and more, all.

    Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 3.1: parts are initialised anew
    from the scores down.

    Args:
      model: whose variables `weights` are.
      weights: trained.
      pixels: normalised, of any B.
      key: decides the new weights.
    """
    init = jax.jit(lambda key, pixels: model.init(key, pixels, train=False))
    fresh: Any = init(key, pixels[:1])
    params = weights["params"]
    top = [part for part in _FROM_THE_TOP if part in params]
    found = []
    for count in range(1, len(top) + (len(top) < len(params))):
        new = {name: fresh["params"][name] for name in top[:count]}
        found.append((" + ".join(new), {**weights, "params": params | new}))
    everything = {kind: fresh.get(kind, {}) for kind in weights}
    if "whiten" in (trunk := weights.get("batch_stats", {}).get("trunk", {})):
        kept = {**everything["batch_stats"]["trunk"], "whiten": trunk["whiten"]}  # the data's
        everything["batch_stats"] = {**everything["batch_stats"], "trunk": kept}
    return [*found, ("all", everything)]


def rank_correlation(first_BHW: np.ndarray, second_BHW: np.ndarray) -> np.ndarray:
    """Returns Spearman's correlation of each pair of maps' absolute values, (B,).

    NaN where one of the two is the same everywhere.
    """
    from scipy import stats

    flat = [np.abs(maps).reshape(len(maps), -1) for maps in (first_BHW, second_BHW)]
    ranks = [stats.rankdata(maps, axis=1) for maps in flat]  # ties share their mean rank
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    norm = np.sqrt(np.prod([np.sum(rank**2, axis=1) for rank in centred], axis=0))
    with np.errstate(invalid="ignore"):
        return np.sum(centred[0] * centred[1], axis=1) / norm


def order_of(map_BHW: Array) -> Array:
    """Returns order_BHW, int: 0 for the pixel of the largest value, 1 for the next, ..."""
    flat = map_BHW.reshape(map_BHW.shape[0], -1)
    return jnp.argsort(jnp.argsort(-flat, axis=1), axis=1).reshape(map_BHW.shape)


def insertion_and_deletion(
    probability_of: Callable[[Array], Array],
    image_BHWC: Array,
    baseline_BHWC: Array,
    order_BHW: Array,
    *,
    num_levels: int = 20,
) -> tuple[Array, Array]:
    """Returns (insertion_B, deletion_B), areas under a class's probability in 0..1.

    Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", section 4.2. Pixels are put into the baseline, or replaced by it, in their order, all
    their channels at once; the area is over the share of pixels, by trapezoids. What decides comes
    first if insertion is high and deletion low.

    Args:
      probability_of: images -> the class's probability (B,).
      image_BHWC: float32.
      baseline_BHWC: what stands for nothing to be seen.
      order_BHW: from `order_of`.
      num_levels: at which the probability is read, beside that of no pixel.
    """
    num_pixels = order_BHW[0].size
    count_L = jnp.asarray(np.rint(np.linspace(0, num_pixels, num_levels + 1)), jnp.int32)

    def at(count: Array) -> tuple[Array, Array]:
        first = (order_BHW < count)[..., None]
        inserted = jnp.where(first, image_BHWC, baseline_BHWC)
        deleted = jnp.where(first, baseline_BHWC, image_BHWC)
        return probability_of(inserted), probability_of(deleted)

    curves_LB = jax.lax.map(at, count_L)
    share_L = count_L / num_pixels
    insertion_B, deletion_B = (
        jnp.trapezoid(curve_LB, share_L[:, None], axis=0) for curve_LB in curves_LB
    )
    return insertion_B, deletion_B
