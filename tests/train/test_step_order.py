"""Steps shuffled for each image: drawn by example and epoch in training, by example after it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.train.evaluator import make_evaluator
from crnn_jax.train.step import make_train_step, order_keys

pytestmark = pytest.mark.long

SHUFFLED = {"model__step_order": "per_image", "model__sequence": "raster"}


def words(model, *, seed=0, epoch=0, example=0, train):
    batch = {"epoch_B": jnp.array([epoch, 0]), "example_B": jnp.array([example, 1])}
    keys = order_keys(model, batch, seed, train=train)
    return jax.random.key_data(keys["order_key_B"])[0].tolist()


def test_what_an_order_depends_on(tiny, start_run):
    model = start_run(tiny("crnn", **SHUFFLED))[0].model
    for train in (True, False):
        first = words(model, train=train)
        assert words(model, train=train) == first
        assert words(model, train=train, example=5) != first
        assert (words(model, train=train, seed=1) != first) == train
        assert (words(model, train=train, epoch=1) != first) == train
    for name, step_order in (("crnn", "natural"), ("crnn", "fixed"), ("cnn", None)):
        change = {"model__step_order": step_order} if step_order else {}
        other = start_run(tiny(name, **change))[0].model
        assert order_keys(other, {}, 0, train=True) == {}


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_an_evaluation_does_not_depend_on_the_batch(tiny, start_run, pipeline):
    found = {}
    for devices, size in ((1, 360), (1, 100), (8, 64)):
        config = tiny("crnn", mesh__data=devices, data__pipeline=pipeline, **SHUFFLED)
        experiment, dataset, _, _, state = start_run(config)
        evaluate = make_evaluator(experiment, dataset.pipeline("test", size, experiment.mesh))
        found[devices, size] = evaluate.with_predictions(state)[1]["probability"]
    for other in found.values():
        np.testing.assert_allclose(other, found[1, 360], atol=2e-5)


def test_a_training_step_draws_other_orders_in_the_next_epoch(tiny, start_run):
    config = tiny("crnn", data__crop_padding=0, optim__name="sgd", model__dropout=0.0, **SHUFFLED)
    experiment, _, pipeline, _, state = start_run(config)
    batch = jax.jit(pipeline.assemble)(next(pipeline.train_inputs(0)), jnp.int32(0))
    step = make_train_step(
        experiment.model,
        experiment.task,
        experiment.optimizer,
        lambda inputs, step: inputs,
        ema_decay=0.0,
        mesh=experiment.mesh,
    )
    step = jax.jit(step)

    def loss(epoch):
        moved = {**batch, "epoch_B": jnp.full_like(batch["epoch_B"], epoch)}
        return step(state, experiment.task.empty(), moved)[1].loss()

    assert loss(0) == loss(0)
    assert loss(0) != loss(1)
