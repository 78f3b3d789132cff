"""Which arrays are trained, and that the others cost nothing and stay as they are."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.checksums import named_leaves
from crnn_jax.data.dataset import load_dataset
from crnn_jax.flops import count_flops, forward_flops_per_image
from crnn_jax.mesh import replicated
from crnn_jax.train.experiment import build
from crnn_jax.train.frozen import matches, overlay, select, without
from crnn_jax.train.programs import make_step
from crnn_jax.train.state import step_rngs
from crnn_jax.train.step import make_gradient

pytestmark = pytest.mark.long

TREE = {"trunk": {"a": {"kernel": 1, "bias": 2}, "b": {"kernel": 3}}, "head": {"kernel": 4}}
BELOW = ("trunk/*", "recurrent/*")


def test_trees_by_hand():
    assert without(TREE, ()) is TREE
    assert without(TREE, ("trunk/*",)) == {"head": {"kernel": 4}}
    assert without(TREE, ("*/kernel",)) == {"trunk": {"a": {"bias": 2}}}
    part = without(TREE, ("trunk/a/*",))
    assert part == {"trunk": {"b": {"kernel": 3}}, "head": {"kernel": 4}}
    assert select(TREE, part) == part
    doubled = jax.tree.map(lambda x: 10 * x, part)
    assert overlay(TREE, doubled) == {
        "trunk": {"a": {"kernel": 1, "bias": 2}, "b": {"kernel": 30}},
        "head": {"kernel": 40},
    }
    assert overlay(TREE, {}) == TREE
    assert matches("trunk/a/kernel", ["trunk/*"])
    assert not matches("trunk/a/kernel", ["Trunk/*", "trunk", "kernel"])


def start(config):
    """Returns (experiment, state, the first batch, its random keys)."""
    dataset = load_dataset(config)
    source = dataset.source
    experiment = build(config, source.input_shape, source.num_classes, dataset.num_train)
    pipeline = dataset.pipeline("train", config.batch_size, experiment.mesh)
    state = experiment.init_state(dataset.norm())
    inputs = next(pipeline.train_inputs(0))
    return experiment, state, inputs, pipeline


def gradient_of(experiment, state, inputs, pipeline, frozen):
    """Returns (a jitted gradient, its arguments) of the first batch."""
    gradient = make_gradient(experiment.model, experiment.task, experiment.mesh, frozen)
    batch = pipeline.assemble(inputs, state.step)
    return gradient, (state.params, state, batch, step_rngs(state), 1.0)


@pytest.mark.parametrize("model", ["crnn", "tsn"])
def test_the_gradient_is_that_of_the_part(tiny, model):
    """Frozen kernels change no other gradient; BatchNorm, whose mean is not named, is trained."""
    run = start(tiny(model, mesh__data=1))
    whole, arguments = gradient_of(*run, ())
    part, _ = gradient_of(*run, ("trunk/conv_*",))
    grads, statistics, _ = jax.jit(whole)(*arguments)
    found, same, _ = jax.jit(part)(*arguments)
    assert not any(name.startswith("trunk/conv_") for name in named_leaves(found))
    assert len(named_leaves(found)) == len(named_leaves(grads)) - 2
    expected = select(grads, found)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), same, statistics)


def test_frozen_batch_norm_reads_and_keeps_its_running_statistics(tiny):
    config = tiny("crnn", mesh__data=1, data__crop_padding=0, optim__label_smoothing=0)
    config.model.dropout = 0.0
    experiment, state, inputs, pipeline = start(config)
    moved = jax.tree.map(lambda x: x + 0.5, state.batch_stats)
    state = dataclasses.replace(state, batch_stats=moved)
    gradient, arguments = gradient_of(experiment, state, inputs, pipeline, BELOW)
    _, statistics, metrics = jax.jit(gradient)(*arguments)
    jax.tree.map(np.testing.assert_array_equal, statistics, moved)
    batch = pipeline.assemble(inputs, state.step)
    pixels, batch = experiment.task.prepare(batch, state.norm, state.seed, train=False)
    weights = {"params": state.params, "batch_stats": moved}
    output = experiment.model.apply(weights, pixels, train=False)
    expected = experiment.task.loss(output, batch, train=False)[1]
    np.testing.assert_allclose(metrics.loss_sum, expected.loss_sum, rtol=1e-6)
    free, _ = gradient_of(experiment, state, inputs, pipeline, ())
    assert not np.allclose(jax.jit(free)(*arguments)[2].loss_sum, expected.loss_sum, rtol=1e-3)


def test_frozen_layers_have_no_backward_pass(tiny):
    """Neither before the compiler, counted exactly, nor after it."""
    config = tiny("crnn", mesh__data=1, model__width=8, model__hidden_units=16)
    experiment, state, inputs, pipeline = start(config)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    forward = config.batch_size * forward_flops_per_image(
        experiment.model, variables, experiment.input_shape
    )
    counted, compiled = {}, {}
    for name, frozen in (("all", ()), ("probe", BELOW)):
        gradient, arguments = gradient_of(experiment, state, inputs, pipeline, frozen)
        counted[name] = count_flops(gradient, *arguments)
        cost: Any = jax.jit(gradient).lower(*arguments).compile().cost_analysis()
        compiled[name] = cost["flops"]
    kernel = state.params["head"]["dense"]["kernel"]
    assert counted["probe"] == forward + 2 * config.batch_size * kernel.size
    assert counted["all"] > 2.3 * counted["probe"]
    assert compiled["all"] > 2 * compiled["probe"]


@pytest.mark.parametrize(
    "changes",
    [
        {"mesh__fsdp": 2, "optim__accumulation_steps": 2, "optim__name": "muon"},
        pytest.param(
            {"reproducible": True, "optim__lookahead_steps": 2}, marks=pytest.mark.distributed
        ),
    ],
    ids=["split", "reproducible"],
)
def test_only_the_rest_is_trained_and_has_an_optimizer(tiny, changes):
    config = tiny("crnn", optim__weight_decay=0.5, optim__ema_decay=0.9, **changes)
    config.init.freeze = BELOW
    experiment, state, inputs, pipeline = start(config)
    before = jax.device_get((state.params, state.batch_stats))
    step = make_step(experiment, pipeline.assemble)
    totals = jax.jit(experiment.task.empty, out_shardings=replicated(experiment.mesh))()
    for _ in range(2):
        state, totals = step(state, totals, inputs)
    after = jax.device_get((state.params, state.batch_stats))
    for name, array in named_leaves(after[0]).items():
        same = np.array_equal(array, named_leaves(before[0])[name])
        assert same == (not name.startswith("head/")), name
    jax.tree.map(np.testing.assert_array_equal, before[1], after[1])
    kept = named_leaves((state.opt_state, state.ema))
    assert not any("trunk" in name or "recurrent" in name for name in kept)
    assert any("head/dense/kernel" in name for name in kept)
    abstract = experiment.abstract_state()
    assert jax.tree.map(jnp.shape, abstract) == jax.tree.map(jnp.shape, state)
    assert experiment.mfu(1.0) is None
