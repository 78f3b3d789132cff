"""What all models have in common, built from the config as training builds them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from crnn_jax.config import MODEL_DEFAULTS, default_config
from crnn_jax.models import MODELS, build_model


def tiny(name, **changes):
    config = default_config(name).model
    small = {"width": 4, "stage_multipliers": (1, 2), "num_conv_layers": 3, "hidden_units": 8}
    config.update({key: value for key, value in small.items() if key in config} | changes)
    return build_model(config, 10, jnp.float32)


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def test_every_model_of_the_config_can_be_built_and_has_its_keys_as_fields():
    assert MODELS.keys() == MODEL_DEFAULTS.keys()
    for name in MODELS:
        fields = set(tiny(name).__dataclass_fields__) - {"parent", "name", "num_classes", "dtype"}
        assert fields == set(MODEL_DEFAULTS[name])


def test_lists_of_a_config_read_from_json_become_tuples():
    config = default_config("crnn").model
    with config.ignore_type():
        config.stage_multipliers = [1, 2, 4]
    assert hash(build_model(config, 10, jnp.float32)) == hash(
        build_model(default_config("crnn").model, 10, jnp.float32)
    )


def test_fused_is_hoisted_where_there_is_no_gpu(monkeypatch):
    assert tiny("crnn", implementation="fused").implementation == "hoisted"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert tiny("crnn", implementation="fused").implementation == "fused"


@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (3, 33, 31, 3), (1, 1, 1, 3)])
@pytest.mark.parametrize("name", MODELS)
def test_shapes_for_any_image_size(name, shape):
    model = tiny(name)
    output, _ = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False), images(*shape)
    )
    batch = shape[0]
    assert (output.logits_BK.shape, output.logits_BK.dtype) == ((batch, 10), jnp.float32)
    assert (output.step_logits_BTK is not None) == (name == "lrcn")
    if name == "lrcn":
        assert output.step_logits_BTK.shape == (batch, 4, 10)


@pytest.mark.smoke
@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_is_finite_and_moves_every_parameter(name, draw):
    image_BHWC = images(8, 6, 6, 1)
    model = tiny(name, **({"consensus": "learned"} if name == "tsn" else {}))

    variables = draw(model, image_BHWC, train=False)
    keys = {"snippet": jax.random.key(2)}

    @jax.jit
    @jax.value_and_grad
    def step(params):
        output, _ = model.apply(
            variables | {"params": params},
            image_BHWC,
            train=True,
            rngs=keys,
            mutable=["batch_stats"],
        )
        return -nn.log_softmax(output.logits_BK)[:, 0].sum()

    value, gradients = step(variables["params"])
    assert 0 < value < 100
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_treats_each_image_alone_and_equals_no_jit(name, draw):
    image_BHWC, model = images(3, 8, 8, 1), tiny(name)
    variables = draw(model, image_BHWC, train=False)

    def evaluate(image_BHWC):
        return model.apply(variables, image_BHWC, train=False).logits_BK

    run = jax.jit(evaluate)
    logits_BK = run(image_BHWC)
    np.testing.assert_allclose(run(image_BHWC[::-1])[::-1], logits_BK, rtol=1e-5, atol=1e-5)
    if name == "crnn":  # one is enough: without jit every operation is compiled by itself
        np.testing.assert_allclose(evaluate(image_BHWC), logits_BK, rtol=1e-5, atol=1e-5)
