"""Sizes that lie in the input are taken, and one more is refused."""

import pytest

from crnn_jax import config as cfg
from crnn_jax.errors import UserError
from crnn_jax.models.fit import check_fit


@pytest.mark.parametrize(
    ("model", "name", "good", "bad", "message"),
    [
        ("rnn", "patch_size", 8, 9, "at most 8"),
        ("rnn_deep", "patch_sizes", (8, 2), (9, 2), "at most 8 as number 1"),
        ("rnn_deep", "patch_sizes", (4, 3), (4, 4), "at most 3 as number 2"),
        ("sequencer", "patch_sizes", (8, 2, 1, 1), (4096, 2, 1, 1), "at most 8 as number 1"),
        ("sequencer", "patch_sizes", (7, 2, 1, 1), (7, 1, 1, 3), "at most 2 as number 4"),
        ("reseg", "patch_sizes", (2,), (4096,), "at most 2 as number 1"),
        ("reseg", "patch_sizes", (2, 1), (2, 2), "at most 1 as number 2"),
        ("crnn", "whiten_size", 8, 9, "at most 8"),
        ("lrcn", "num_frames", 8, 9, "at most 8"),
        ("tsn", "num_segments", 8, 1000, "at most 8"),
        ("lrcn", "frame_height", 0.125, 0.0001, r"at least 0\.125"),
        ("tsn", "snippet_height", 0.125, 0.12, r"at least 0\.125"),
    ],
)
def test_a_size_lies_in_the_image(model, name, good, bad, message):
    config = cfg.default_config(model).model
    if model == "rnn":
        config.tokens = "patches"
    config[name] = good
    check_fit(config, (8, 10, 1))
    config[name] = bad
    with pytest.raises(UserError, match=rf"'model\.{name}' expects {message} for .* 8 x 10 x 1,"):
        check_fit(config, (8, 10, 1))


def test_a_clip_is_not_cut():
    config = cfg.default_config("lrcn").model
    config.num_frames, config.frame_height = 99, 0.0001
    check_fit(config, (6, 8, 8, 1))


def test_a_row_has_no_patches():
    config = cfg.default_config("rnn").model
    config.tokens, config.patch_size = "rows", 999
    check_fit(config, (8, 8, 1))
