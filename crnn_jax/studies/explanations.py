"""All maps of a trained run, and the figures that say how far each can be believed."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from crnn_jax.run import Run
from crnn_jax.studies import attributions, faithfulness
from crnn_jax.studies.inside import through_trunk
from crnn_jax.studies.seeds import interval95
from crnn_jax.train.experiment import Experiment

Array = jax.Array
GRADIENT, SMOOTH, INTEGRATED, GRAD_CAM, RISE = METHODS = (  # the order of pictures and tables
    "gradient",
    "SmoothGrad",
    "integrated gradients",
    "Grad-CAM",
    "RISE",
)
SIGNED = (INTEGRATED, RISE)  # their maps say for and against
_CHUNK = 32  # images in one call of a program
_RANDOM_ORDERS = 5  # averaged in each image's random areas


def make_maps(experiment: Experiment) -> Callable[..., tuple[dict[str, Array], Array]]:
    """Returns maps(weights, image_BHWC, class_B, key) -> ({method: map_BHW}, difference_B).

    Images are normalised, so that 0 is the mean colour of the training images: the baseline, which
    is also what convolutions are padded with. Maps are float32 of the image's size; those of
    `SIGNED` methods have signs. The difference is S(image) - S(baseline), which integrated
    gradients add up to. Models that cut an image into frames have no Grad-CAM: no map is of the
    whole image.
    """
    model = experiment.model
    compiled = partial(jax.jit, compiler_options=experiment.evaluation_options)
    cam = compiled(partial(_grad_cam, model))

    def score_of(weights: Any, class_B: Array) -> attributions.Score:
        return attributions.class_score(lambda x: model.apply(weights, x, train=False), class_B)

    @compiled
    def gradient(weights: Any, image_BHWC: Array, class_B: Array) -> Array:
        return attributions.gradient(score_of(weights, class_B), image_BHWC)

    @compiled
    def difference(weights: Any, image_BHWC: Array, class_B: Array) -> Array:
        score = score_of(weights, class_B)
        return score(image_BHWC) - score(jnp.zeros_like(image_BHWC))

    @compiled
    def rise(weights: Any, image_BHWC: Array, class_B: Array, key: Array) -> Array:
        probability = probability_of(model, weights, class_B)
        return attributions.rise(probability, image_BHWC, jnp.zeros_like(image_BHWC), key)

    def maps(
        weights: Any, image_BHWC: Array, class_B: Array, key: Array
    ) -> tuple[dict[str, Array], Array]:
        # One compiled gradient serves three methods: compiling takes longer than computing.
        def gradient_of(image_BHWC: Array) -> Array:
            return gradient(weights, image_BHWC, class_B)

        smooth = attributions.smooth_gradient(gradient_of, image_BHWC, key)
        nothing = jnp.zeros_like(image_BHWC)
        integrated = attributions.integrated_gradients(gradient_of, image_BHWC, nothing)
        found = {
            GRADIENT: attributions.largest_channel(gradient_of(image_BHWC)),
            SMOOTH: attributions.largest_channel(smooth),
            INTEGRATED: jnp.sum(integrated, axis=-1),
            RISE: rise(weights, image_BHWC, class_B, key),
        }
        cam_BHW = cam(weights, image_BHWC, class_B) if hasattr(model, "trunk") else None
        if cam_BHW is not None:
            found[GRAD_CAM] = cam_BHW
        return found, difference(weights, image_BHWC, class_B)

    return maps


def _grad_cam(model: nn.Module, weights: Any, image_BHWC: Array, class_B: Array) -> Array | None:
    last_map = through_trunk(model, weights, image_BHWC)[1]
    if len(last_map) != len(image_BHWC):
        return None
    score = attributions.class_score(
        lambda x: through_trunk(model, weights, image_BHWC, x)[0], class_B
    )
    cam_BHW = attributions.grad_cam(score, last_map)
    return attributions.enlarge(cam_BHW, *image_BHWC.shape[1:3])


def probability_of(model: nn.Module, weights: Any, class_B: Array) -> attributions.Score:
    """Returns images -> the probability of their classes, float32 (B,)."""

    def probability(image_BHWC: Array) -> Array:
        output: Any = model.apply(weights, image_BHWC, train=False)
        probability_BK = nn.softmax(output.logits_BK.astype(jnp.float32))
        return jnp.take_along_axis(probability_BK, class_B[:, None], axis=1)[:, 0]

    return probability


def in_order(found: dict[str, Any]) -> list[str]:
    """Returns the methods there are; JAX sorts the keys of its trees."""
    return [name for name in METHODS if name in found]


def in_chunks(program: Callable[..., Any], *arrays: Any) -> Any:
    """Returns program(*arrays) of whole arrays, computed for `_CHUNK` examples at a time."""
    parts, count = [], len(arrays[0])
    for first in range(0, count, _CHUNK):
        index = np.minimum(np.arange(first, first + _CHUNK), count - 1)  # one compiled shape
        found = jax.device_get(program(*(jnp.asarray(array)[index] for array in arrays)))
        parts.append(jax.tree.map(lambda leaf, last=count - first: leaf[:last], found))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def check(
    run: Run, maps: Callable[..., Any], image_BHWC: np.ndarray, class_B: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """Returns {"images", "methods", "random", "integrated_gradients_gap"}, figures of the maps.

    `methods` has, for each, the mean "insertion" and "deletion" areas, their difference, by how
    much it beats that of random orders with half the 95% interval of the mean, and the mean rank
    correlation of its maps with those of randomised weights ("correlation", from the head's alone
    to all). The gap is the median of |sum of the map - difference of the scores| over the latter.

    Args:
      run: that classifies images.
      maps: from `make_maps`.
      image_BHWC: normalised.
      class_B: int, what is explained.
      seed: decides the random weights, orders and noise.
    """
    model, key = run.experiment.model, jax.random.key(seed)

    def maps_of(weights: Any) -> Any:
        return in_chunks(lambda x, c: maps(weights, x, c, key), image_BHWC, class_B)

    found, difference_B = maps_of(run.weights)
    areas = _areas_of(run, image_BHWC, class_B)
    drawn = np.random.default_rng(seed).random((_RANDOM_ORDERS, *image_BHWC.shape[:3]))
    random = np.mean([areas(order) for order in drawn], axis=0)
    methods = {}
    for name in in_order(found):
        own = areas(found[name])
        gain_B = (own[0] - own[1]) - (random[0] - random[1])
        methods[name] = {
            **_means(own),
            "minus_random": float(np.mean(gain_B)),
            "minus_random_ci95": interval95(gain_B.tolist()),
            "correlation": {},
        }
    for what, weights in faithfulness.randomised(model, run.weights, jnp.asarray(image_BHWC), key):
        for name, map_BHW in maps_of(weights)[0].items():
            pairs = faithfulness.rank_correlation(found[name], map_BHW)
            usable = pairs[np.isfinite(pairs)]  # not of maps that are the same everywhere
            methods[name]["correlation"][what] = float(usable.mean()) if len(usable) else None
    gap_B = np.abs(found[INTEGRATED].sum((1, 2)) - difference_B) / np.abs(difference_B)
    return {
        "images": len(image_BHWC),
        "methods": methods,
        "random": _means(random),
        "integrated_gradients_gap": float(np.median(gap_B)),
    }


def _areas_of(
    run: Run, image_BHWC: np.ndarray, class_B: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns areas(map_BHW) -> (insertion_B, deletion_B) as one array (2, B)."""
    model = run.experiment.model

    @partial(jax.jit, compiler_options=run.experiment.evaluation_options)
    def program(weights: Any, image_BHWC: Array, class_B: Array, map_BHW: Array) -> Any:
        probability = probability_of(model, weights, class_B)
        order_BHW = faithfulness.order_of(map_BHW)
        nothing = jnp.zeros_like(image_BHWC)
        return faithfulness.insertion_and_deletion(probability, image_BHWC, nothing, order_BHW)

    def areas(map_BHW: np.ndarray) -> np.ndarray:
        found = in_chunks(lambda *part: program(run.weights, *part), image_BHWC, class_B, map_BHW)
        return np.stack(found)

    return areas


def _means(areas_2B: np.ndarray) -> dict[str, float]:
    insertion, deletion = (float(value) for value in areas_2B.mean(axis=1))
    return {"insertion": insertion, "deletion": deletion, "difference": insertion - deletion}
