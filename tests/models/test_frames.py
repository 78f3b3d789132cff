"""Clips: what the frames of one become in each model."""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.models import build_model
from crnn_jax.models.frames import is_clip, middle_frame, over_frames
from crnn_jax.models.heads import Output


def make(name, **changes):
    config = default_config(name).model
    small = {"width": 4, "stage_multipliers": (1, 2), "num_conv_layers": 2, "hidden_units": 6}
    changes = {"implementation": "hoisted", **small, **changes}
    config.update({key: value for key, value in changes.items() if key in config})
    return build_model(config, 10, jnp.float32)


def clips(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def influence_of_frames(model, video_BFHWC, draw):
    """How far each frame moves the logits, (F,)."""
    variables = draw(model, video_BFHWC, train=False)

    @jax.jit
    @jax.grad
    def gradient(video_BFHWC):
        return (model.apply(variables, video_BFHWC, train=False).logits_BK ** 2).sum()

    return np.abs(gradient(video_BFHWC)).max(axis=(0, 2, 3, 4))


def test_frames_are_folded_and_unfolded_in_order():
    video_BFHWC = clips(2, 3, 4, 5, 6)
    found = over_frames(lambda image: image[:, 1, 2], video_BFHWC)
    np.testing.assert_array_equal(found, np.asarray(video_BFHWC)[:, :, 1, 2])


def test_clips_are_told_from_images_and_have_a_middle():
    assert is_clip(clips(2, 3, 4, 4, 1))
    assert not is_clip(clips(2, 4, 4, 1))
    for num_frames, middle in ((1, 0), (4, 2), (5, 2)):
        video_BFHWC = clips(2, num_frames, 4, 4, 1)
        np.testing.assert_array_equal(middle_frame(video_BFHWC), video_BFHWC[:, middle])


@pytest.mark.parametrize("name", ["rnn", "lrcn", "tsn", "crnn"])
def test_every_frame_counts(name, draw):
    assert influence_of_frames(make(name), clips(2, 5, 8, 8, 1), draw).min() > 0


def test_the_cnn_sees_the_middle_frame_alone(draw):
    moved = influence_of_frames(make("cnn"), clips(2, 5, 8, 8, 1), draw) > 0
    np.testing.assert_array_equal(moved, [False, False, True, False, False])


@pytest.mark.parametrize(("name", "changes", "knows"), [
    ("tsn", {}, False), ("rnn", {}, True), ("lrcn", {}, True), ("crnn", {}, True),
    ("crnn", {"readout": "mean"}, True),
])  # fmt: skip
def test_recurrent_models_alone_know_the_order_of_frames(name, changes, knows, draw):
    video_BFHWC, model = clips(2, 4, 8, 8, 1), make(name, **changes)
    variables = draw(model, video_BFHWC, train=False)
    run = jax.jit(lambda x: cast(Output, model.apply(variables, x, train=False)).logits_BK)
    moved = np.abs(run(video_BFHWC) - run(video_BFHWC[:, ::-1])).max()
    assert moved > 1e-3 if knows else moved < 1e-5


def test_bands_of_an_image_are_the_frames_of_a_clip(draw):
    """LRCN's two bands that do not overlap, given as a clip; training draws nothing of a clip."""
    image_BHWC, model = clips(2, 8, 8, 1), make("lrcn", num_frames=2)
    variables = draw(model, image_BHWC, train=False)
    video_BFHWC = image_BHWC.reshape(2, 2, 4, 8, 1)
    run = jax.jit(lambda x: cast(Output, model.apply(variables, x, train=False)).step_logits_BTK)
    np.testing.assert_allclose(run(video_BFHWC), run(image_BHWC), rtol=1e-6, atol=1e-6)


def test_snippets_of_a_clip_are_not_drawn(draw):
    video_BFHWC, model = clips(2, 4, 8, 8, 1), make("tsn", norm=False)
    variables = draw(model, video_BFHWC, train=False)

    @jax.jit
    def run(video_BFHWC):  # without the rng 'snippet'
        return [
            cast(Output, model.apply(variables, video_BFHWC, train=t)).logits_BK
            for t in (True, False)
        ]

    np.testing.assert_array_equal(*run(video_BFHWC))
