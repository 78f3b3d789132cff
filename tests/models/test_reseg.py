from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.errors import UserError
from crnn_jax.models import build_model
from crnn_jax.models.heads import DenseOutput
from crnn_jax.models.reseg import upsample


def make_reseg(dtype=jnp.float32, **changes):
    config = default_config("reseg").model
    small = {"width": 4, "stage_multipliers": (1, 2), "num_conv_layers": 2, "hidden_units": 5,
             "decoder_width": 3, "implementation": "hoisted"}  # fmt: skip
    config.update({**small, **changes})
    return build_model(config, 6, dtype)


def run(model, shape, draw):
    image_BHWC = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    variables = draw(model, image_BHWC, train=False)
    apply = jax.jit(lambda variables, image: model.apply(variables, image, train=False))
    output = cast(DenseOutput, apply(variables, image_BHWC))
    return variables, image_BHWC, output.logits_BHWK


@pytest.mark.parametrize(
    ("shape", "patch_sizes"),
    [((2, 8, 8, 1), (1,)), ((1, 7, 13, 3), (2, 1)), ((3, 1, 1, 1), (2, 1)), ((2, 2, 5, 1), (3,))],
)
def test_any_size_has_logits_for_each_pixel(shape, patch_sizes, draw):
    _, _, logits_BHWK = run(make_reseg(patch_sizes=patch_sizes), shape, draw)
    assert logits_BHWK.shape == (*shape[:3], 6)
    assert logits_BHWK.dtype == jnp.float32
    assert bool(jnp.all(jnp.isfinite(logits_BHWK)))


def test_logits_are_float32_in_every_precision():
    model, image = make_reseg(jnp.bfloat16), jnp.zeros((2, 6, 6, 1))
    output, _ = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False), image
    )
    assert output.logits_BHWK.dtype == jnp.float32


def test_each_pixel_is_judged_by_the_whole_image_through_the_sweeps(draw):
    """Without the sweeps a far pixel is out of reach of 3x3 convolutions and two poolings."""
    model = make_reseg(norm=False)
    image_BHWC = jnp.asarray(np.random.default_rng(0).normal(size=(1, 64, 64, 1)), jnp.float32)
    variables = draw(model, image_BHWC, train=False)

    @jax.jit
    @jax.grad
    def gradient(image_BHWC, variables):
        return (
            cast(DenseOutput, model.apply(variables, image_BHWC, train=False))
            .logits_BHWK[0, 0, 0]
            .sum()
        )

    assert float(jnp.abs(gradient(image_BHWC, variables)[0, 40:, 40:]).max()) > 0
    params = dict(variables["params"])
    for name in ("columns_0", "rows_0"):
        params[name] = jax.tree.map(jnp.zeros_like, params[name])
    blind = {**variables, "params": params}
    assert float(jnp.abs(gradient(image_BHWC, blind)[0, 40:, 40:]).max()) == 0
    assert float(jnp.abs(gradient(image_BHWC, blind)[0, :4, :4]).max()) > 0


def test_positions_are_repeated_where_they_were_pooled_from():
    map_BHWC = jnp.arange(6.0).reshape(1, 2, 3, 1)
    found = upsample(map_BHWC, 2, (3, 5))[0, :, :, 0]
    np.testing.assert_array_equal(found, [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]])


def test_clips_are_refused():
    model = make_reseg()
    with pytest.raises(UserError, match=r"'reseg'.*still images, found clips of 3 frames"):
        jax.eval_shape(
            lambda x: model.init(jax.random.key(0), x, train=False), jnp.zeros((1, 3, 8, 8, 1))
        )
