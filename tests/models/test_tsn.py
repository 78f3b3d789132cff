"""Segments, snippets and their consensus."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from crnn_jax.config import default_config
from crnn_jax.errors import UserError
from crnn_jax.models import build_model
from crnn_jax.models.heads import Output
from crnn_jax.models.trunk import Trunk
from crnn_jax.models.tsn import segment_bounds, take_snippets


def make(consensus="mean", num_segments=3, snippet_height=0.5, norm=False):
    config = default_config("tsn").model
    config.update(width=4, stage_multipliers=(1, 2), num_conv_layers=2, norm=norm)
    config.update(num_segments=num_segments, snippet_height=snippet_height, consensus=consensus)
    return build_model(config, 10, jnp.float32)


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("num_offsets", "num_segments", "expected"),
    [
        (17, 3, [(0, 5), (5, 11), (11, 17)]),
        (6, 2, [(0, 3), (3, 6)]),
        (1, 3, [(0, 1)] * 3),
        (2, 3, [(0, 1), (0, 1), (1, 2)]),
        (5, 1, [(0, 5)]),
    ],
)
def test_segments_cover_the_offsets(num_offsets, num_segments, expected):
    first, stop = segment_bounds(num_offsets, num_segments)
    assert list(zip(first.tolist(), stop.tolist(), strict=True)) == expected


def test_snippets_are_the_rows_at_each_images_own_offsets():
    image_BHWC = jnp.arange(2 * 6).reshape(2, 6, 1, 1)
    video_BFHWC = take_snippets(image_BHWC, jnp.array([[0, 3], [1, 4]]), 2)
    np.testing.assert_array_equal(
        video_BFHWC[..., 0, 0], [[[0, 1], [3, 4]], [[7, 8], [10, 11]]]
    )  # fmt: skip


@pytest.mark.parametrize("consensus", ["mean", "max", "learned"])
def test_evaluation_is_the_consensus_of_the_centre_snippets(consensus, draw):
    """32 rows, snippets of 16: offsets 0-16 in segments 0-4, 5-10, 11-16, centres 2, 7, 13."""
    image_BHWC, model = images(2, 32, 8, 1), make(consensus)
    variables = draw(model, image_BHWC, train=False)
    weights = variables["params"].get("consensus_weight")
    one = make(num_segments=1, snippet_height=1.0)

    @jax.jit
    def run(image_BHWC):
        shared = {"params": {name: variables["params"][name] for name in ("trunk", "head")}}
        parts: Any = [one.apply(shared, image_BHWC[:, y : y + 16], train=False) for y in (2, 7, 13)]
        scores = [part.logits_BK for part in parts]
        return cast(Output, model.apply(variables, image_BHWC, train=False)).logits_BK, scores

    found_BK, score_SBK = run(image_BHWC)
    if consensus == "learned":
        expected_BK = sum(w * score_BK for w, score_BK in zip(weights, score_SBK, strict=True))
    else:
        expected_BK = (np.mean if consensus == "mean" else np.max)(score_SBK, axis=0)
    np.testing.assert_allclose(found_BK, expected_BK, rtol=1e-4, atol=1e-5)


def test_learned_consensus_starts_as_the_mean():
    image_BHWC, model = images(1, 8, 8, 1), make("learned")

    @jax.jit
    def initialise(image_BHWC):
        # Only this parameter is returned, so that nothing else is compiled.
        variables = model.init(jax.random.key(0), image_BHWC, train=False)
        return variables["params"]["consensus_weight"]

    np.testing.assert_allclose(initialise(image_BHWC), [1 / 3] * 3, rtol=1e-6)


def test_training_draws_each_segment_of_each_image_apart(draw):
    """Images whose pixels hold their row's number: a snippet's smallest pixel is its offset."""
    image_BHWC = jnp.broadcast_to(jnp.arange(32.0)[:, None, None], (400, 32, 4, 1))
    model = make()
    variables = draw(model, image_BHWC[:1], train=False)
    seen = []

    def remember(next_fn, args, kwargs, context):
        if isinstance(context.module, Trunk):
            seen.append(args[0].min((1, 2, 3)).reshape(400, 3))
        return next_fn(*args, **kwargs)

    @jax.jit
    def offsets(key):
        with nn.intercept_methods(remember):
            model.apply(variables, image_BHWC, train=True, rngs={"snippet": key})
        return seen.pop()

    first, again, other = (np.asarray(offsets(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    for segment, (low, stop) in enumerate([(0, 5), (5, 11), (11, 17)]):
        assert set(first[:, segment]) == set(range(low, stop))  # all of them, and no other
    assert abs(np.corrcoef(first[:, 0], first[:, 1])[0, 1]) < 0.2


def test_a_learned_consensus_has_a_weight_for_each_frame():
    model = make("learned", num_segments=3)
    clip = jax.ShapeDtypeStruct((2, 4, 8, 8, 1), jnp.float32)
    with pytest.raises(UserError, match=r"'model.num_segments' to the frames .*\(4\), found 3"):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), clip)
    shapes = jax.eval_shape(
        lambda x: make("learned", 4).init(jax.random.key(0), x, train=False), clip
    )
    assert shapes["params"]["consensus_weight"].shape == (4,)
