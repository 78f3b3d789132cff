"""What passes inside of a model, and what it says after each step, against shorter inputs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.errors import UserError
from crnn_jax.models import build_model
from crnn_jax.studies import steps
from crnn_jax.studies.inside import through_recurrence, through_trunk

pytestmark = pytest.mark.long


@pytest.fixture
def made(draw):
    """Returns make(name, **keys) -> (model, weights, images of 8 x 8 x 1)."""

    def make(name, **keys):
        config = default_config(name).model
        sizes = {"width": 4, "stage_multipliers": (1, 2), "num_conv_layers": 2, "hidden_units": 5}
        for key, value in {**sizes, **keys}.items():
            if key in config:
                config[key] = value
        model = build_model(config, 10, jnp.float32)
        random = np.random.default_rng(1)
        image_BHWC = jnp.asarray(random.normal(size=(3, 8, 8, 1)), jnp.float32)
        return model, draw(model, image_BHWC, train=False), image_BHWC

    return make


def logits_after(model, weights, image_BHWC):
    return steps.step_logits(model, weights, through_recurrence(model, weights, image_BHWC))


@pytest.mark.parametrize("readout", ["last", "mean", "attention"])
@pytest.mark.parametrize("name", ["rnn", "crnn", "lrcn"])
def test_after_the_last_step_it_is_the_models_own_answer(made, name, readout):
    model, weights, image_BHWC = made(name, readout=readout)
    own_BK = model.apply(weights, image_BHWC, train=False).logits_BK
    logits_BTK = logits_after(model, weights, image_BHWC)
    np.testing.assert_allclose(jax.nn.softmax(logits_BTK[:, -1]), jax.nn.softmax(own_BK), atol=1e-6)


@pytest.mark.parametrize("readout", ["last", "mean", "attention"])
def test_after_a_step_it_is_the_answer_to_an_image_that_ends_there(made, readout):
    model, weights, image_BHWC = made("rnn", readout=readout, num_recurrent_layers=2)
    logits_BTK = logits_after(model, weights, image_BHWC)
    for step in (0, 4):
        cut_BK = model.apply(weights, image_BHWC[:, : step + 1], train=False).logits_BK
        np.testing.assert_allclose(logits_BTK[:, step], cut_BK, atol=1e-5)


def test_lrcn_averages_the_probabilities_so_far(made):
    model, weights, image_BHWC = made("lrcn", num_frames=3)
    step_BTK = model.apply(weights, image_BHWC, train=False).step_logits_BTK
    probability_BTK = jax.nn.softmax(step_BTK)
    found_BTK = jnp.exp(logits_after(model, weights, image_BHWC))
    np.testing.assert_allclose(found_BTK[:, 1], probability_BTK[:, :2].mean(1), atol=1e-6)


def test_attention_weights_are_those_of_the_readout(made):
    model, weights, image_BHWC = made("crnn", readout="attention")
    found = steps.read_steps(model, weights, image_BHWC, jnp.array([0, 1, 2]))
    assert found.attention_BT is not None
    assert found.attention_BT.shape == found.relevance_BT.shape == (3, 2)
    np.testing.assert_allclose(found.attention_BT.sum(1), 1, rtol=1e-5)
    _, kept = model.apply(weights, image_BHWC, train=False, mutable="intermediates")
    (own_BT,) = kept["intermediates"]["readout"]["attention_BT"]
    np.testing.assert_allclose(found.attention_BT, own_BT)
    model, weights, image_BHWC = made("crnn")
    assert steps.read_steps(model, weights, image_BHWC, jnp.arange(3)).attention_BT is None


def test_only_the_last_step_counts_where_the_state_forgets(made):
    model, weights, image_BHWC = made("rnn", cell="elman")
    layer = weights["params"]["recurrent"]["layer_0"]
    layer["kernel_h"] = jnp.zeros_like(layer["kernel_h"])
    class_B = jnp.array([0, 1, 2])
    found_BT = steps.read_steps(model, weights, image_BHWC, class_B).relevance_BT
    np.testing.assert_allclose(found_BT, np.eye(8)[[7, 7, 7]], atol=1e-6)
    # A step's share in the mean of the states, by hand: |W_x ((1 - h_t^2) * w_c)|, made to sum 1.
    model = dataclasses.replace(model, readout=made("rnn", readout="mean")[0].readout)
    found_BT = steps.read_steps(model, weights, image_BHWC, class_B).relevance_BT
    state_BTN = through_recurrence(model, weights, image_BHWC).state_BTN
    column_BN = weights["params"]["head"]["dense"]["kernel"].T[class_B]
    own_BTD = ((1 - state_BTN**2) * column_BN[:, None]) @ layer["kernel_x"].T
    own_BT = jnp.linalg.norm(own_BTD, axis=-1)
    np.testing.assert_allclose(found_BT, own_BT / own_BT.sum(1, keepdims=True), rtol=1e-4)


@pytest.mark.parametrize("name", ["cnn", "crnn"])
def test_what_passes_can_be_replaced(made, name):
    model, weights, image_BHWC = made(name)
    own = model.apply(weights, image_BHWC, train=False).logits_BK
    output, map_BHWC = through_trunk(model, weights, image_BHWC)
    np.testing.assert_array_equal(output.logits_BK, own)
    other = jnp.zeros_like(image_BHWC)
    same, _ = through_trunk(model, weights, other, map_BHWC)
    np.testing.assert_allclose(same.logits_BK, own, atol=1e-6)  # the image is not read any more
    if name == "crnn":
        passed = through_recurrence(model, weights, image_BHWC)
        replaced = through_recurrence(model, weights, other, passed.feature_BTD)
        np.testing.assert_allclose(replaced.output.logits_BK, own, atol=1e-6)


def test_models_without_steps_say_why(made):
    with pytest.raises(UserError, match="found 'runs/a': it has no single recurrence"):
        steps.check_steps(made("cnn")[0], "runs/a")
    with pytest.raises(UserError, match="reads both ways"):
        steps.check_steps(made("crnn", bidirectional=True)[0], "runs/a")
    with pytest.raises(UserError, match="reads shuffled steps"):
        steps.check_steps(made("crnn", step_order="fixed")[0], "runs/a")
    steps.check_steps(made("crnn")[0], "runs/a")
