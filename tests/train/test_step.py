"""One step of every model: 1 device equals 8, jit equals no jit, weight 0 counts nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models import CLASSIFIERS
from crnn_jax.models.heads import Output
from crnn_jax.train.step import make_eval_step, make_train_step, repeat_step


def first_losses(run, num_steps=1):
    experiment, _, pipeline, step, state = run
    step, losses = jax.jit(step), []
    for _, inputs in zip(range(num_steps), pipeline.train_inputs(0), strict=False):
        state, totals = step(state, experiment.task.empty(), inputs)
        losses.append(totals.loss())
    return losses, state


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "precision"), [*((model, "float32") for model in CLASSIFIERS), ("crnn", "bfloat16")]
)
def test_one_device_equals_eight_and_the_loss_falls(tiny, start_run, model, precision):
    tolerance = {"float32": 1e-5, "bfloat16": 1e-2}[precision]
    keys = {"precision": precision, "duration": "40 steps", "optim__learning_rate": 0.01}
    if model == "sequencer":
        keys["model__stochastic_depth"] = 0.3  # which examples leave out a block is theirs
    (one,), state_one = first_losses(start_run(tiny(model, mesh__data=1, **keys)))
    losses, state = first_losses(start_run(tiny(model, mesh__data=8, **keys)), num_steps=30)
    assert losses[0] == pytest.approx(one, rel=tolerance)
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.05
    assert len(jax.tree.leaves(state.params)[0].sharding.device_set) == 8
    assert len(jax.tree.leaves(state_one.params)[0].sharding.device_set) == 1


@pytest.mark.long
def test_steps_in_one_program_equal_single_steps(tiny, start_run):
    config = tiny("crnn", optim__name="sgd", optim__ema_decay=0.9, model__dropout=0.2)
    experiment, _, pipeline, step, state = start_run(config)
    inputs = next(pipeline.train_inputs(0))
    together, totals = jax.jit(repeat_step(step, 3))(state, experiment.task.empty(), inputs)
    step, single, single_totals = jax.jit(step), state, experiment.task.empty()
    for _ in range(3):
        single, single_totals = step(single, single_totals, inputs)
    assert int(together.step) == 3
    assert int(totals.num_examples) == 3 * config.batch_size
    np.testing.assert_allclose(totals.loss_sum, single_totals.loss_sum, rtol=1e-5)
    for name in ("params", "batch_stats", "ema"):
        one, other = getattr(together, name), getattr(single, name)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, other)


@pytest.mark.long
def test_one_device_equals_eight_with_a_recipe(tiny, start_run, recipe):
    runs = [
        first_losses(start_run(tiny("crnn", mesh__data=n, **recipe)), num_steps=6) for n in (1, 8)
    ]
    (one, state_one), (eight, state_eight) = runs
    np.testing.assert_allclose(one, eight, rtol=1e-3)
    assert one[-1] < one[0]
    kernel_HWIO = state_one.batch_stats["trunk"]["whiten"]["kernel"]
    np.testing.assert_array_equal(kernel_HWIO, state_eight.batch_stats["trunk"]["whiten"]["kernel"])


@pytest.mark.parametrize("model", ["cnn", "lrcn", "tsn", "crnn"])
def test_the_whitening_kernel_of_every_model_is_the_datas_and_no_parameter(tiny, start_run, model):
    experiment, dataset, pipeline, step, state = start_run(tiny(model, model__whiten_size=2))
    expected = dataset.norm()["whitening_HWIO"]
    np.testing.assert_array_equal(state.batch_stats["trunk"]["whiten"]["kernel"], expected)
    assert set(state.params["trunk"]["whiten"]) == {"bias"}
    assert set(state.norm) == {"mean_C", "std_C"}
    inputs = next(pipeline.train_inputs(0))
    after, _ = jax.eval_shape(step, state, experiment.task.empty(), inputs)
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (after, experiment.abstract_state())]
    assert shapes[0] == shapes[1] == jax.tree.map(jnp.shape, state)


def test_views_of_an_image_are_averaged_by_their_logits(tiny, start_run):
    experiment, _, _, _, state = start_run(tiny("cnn", mesh__data=1))
    image_BHWC = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1), np.uint8)
    label_B = jnp.arange(8, dtype=jnp.int32)
    batch = {"image": jnp.asarray(image_BHWC), "label": label_B, "weight_B": jnp.ones(8)}
    mirror = {**batch, "image": batch["image"][:, :, ::-1]}

    def apply(batch):
        image_BHWC, _ = experiment.task.prepare(batch, state.norm, state.seed, train=False)
        weights = {"params": state.params, "batch_stats": state.batch_stats}
        return experiment.model.apply(weights, image_BHWC, train=False).logits_BK

    @jax.jit
    def run(batch, mirror):
        step = make_eval_step(
            experiment.model,
            experiment.task,
            lambda inputs, first_index: inputs,
            weights="last",
            ema_decay=0.0,
            tta="mirror",
        )
        mean_BK = (apply(batch) + apply(mirror)) / 2
        expected = experiment.task.loss(Output(mean_BK), batch, train=False)[1]
        return step(state, experiment.task.empty(), batch, jnp.uint32(0))[0], expected

    found, expected = run(batch, mirror)
    np.testing.assert_allclose(found.loss_sum, expected.loss_sum, rtol=1e-6)
    assert int(found.num_examples) == 8


@pytest.mark.slow
def test_jit_equals_no_jit(tiny, start_run):
    config = tiny(mesh__data=1, optim__name="sgd", model__dropout=0.3)
    experiment, _, pipeline, step, state = start_run(config)
    inputs = next(pipeline.train_inputs(0))
    jitted, totals = jax.jit(step)(state, experiment.task.empty(), inputs)
    plain, plain_totals = step(state, experiment.task.empty(), inputs)
    np.testing.assert_allclose(totals.loss_sum, plain_totals.loss_sum, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), jitted.params, plain.params
    )


@pytest.mark.long
def test_weight_zero_changes_nothing(tiny, start_run):
    """Images of weight 0 are as if not there (no BatchNorm: its statistics see every image)."""
    config = tiny("crnn", mesh__data=1, model__norm=False, optim__name="sgd")
    experiment, _, pipeline, _, state = start_run(config)
    batch = jax.jit(pipeline.assemble)(next(pipeline.train_inputs(0)), jnp.int32(0))
    half = jax.tree.map(lambda x: x[:32], batch)
    masked = {**batch, "weight_B": batch["weight_B"].at[32:].set(0.0)}

    def step(inputs):
        function = make_train_step(
            experiment.model,
            experiment.task,
            experiment.optimizer,
            lambda inputs, step: inputs,
            ema_decay=0.0,
        )
        return jax.jit(function)(state, experiment.task.empty(), inputs)

    (state_masked, totals_masked), (state_half, totals_half) = step(masked), step(half)
    assert int(totals_masked.num_examples) == 32
    np.testing.assert_allclose(totals_masked.loss_sum, totals_half.loss_sum, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        state_masked.params,
        state_half.params,
    )
