"""The shape of the programs: where the matmuls are, in which dtype, and on eight devices."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from crnn_jax.mesh import make_mesh
from crnn_jax.models.recurrent import Recurrent


def make(cell="gru", bidirectional=False, how="hoisted", dtype=jnp.float32):
    return Recurrent(cell, 6, 1, bidirectional, how, False, dtype)


def features(batch=3, steps=9):
    noise_BTD = np.random.default_rng(0).normal(size=(batch, steps, 4))
    return jnp.asarray(noise_BTD, jnp.float32)


def loss_of(model):
    def loss(variables, feature_BTD):
        state_BTN, last_BN = model.apply(variables, feature_BTD)
        return (state_BTN**2).sum() + (last_BN**3).sum()

    return loss


@pytest.mark.parametrize("how", ["scan", "hoisted"])
def test_every_matmul_forward_and_backward_is_in_bfloat16(how, draw):
    feature_BTD, model = features(), make(how=how, dtype=jnp.bfloat16)
    variables = draw(model, feature_BTD)
    program = jax.make_jaxpr(jax.grad(lambda v, x: model.apply(v, x)[0].sum(), (0, 1)))
    products: Any = [eqn for eqn in equations(program(variables, feature_BTD).jaxpr)
                     if eqn.primitive.name == "dot_general"]  # fmt: skip
    assert len(products) >= 6  # x and h: forward, to their inputs and to their kernels
    assert {x.aval.dtype for eqn in products for x in eqn.invars} == {jnp.dtype(jnp.bfloat16)}


def equations(jaxpr):
    """All equations of a jaxpr and of those inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for item in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(item, "jaxpr", item)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def test_the_weights_gradient_is_one_matmul_outside_the_loop(draw):
    feature_BTD, model = features(batch=2, steps=64), make()
    variables = draw(model, feature_BTD)
    program = jax.make_jaxpr(jax.grad(loss_of(model)))(variables, feature_BTD)
    loops = [
        e.params["jaxpr"].jaxpr for e in equations(program.jaxpr) if e.primitive.name == "scan"
    ]
    names = [[e.primitive.name for e in equations(loop)] for loop in loops]
    # h times kernel_h, and the gradient of that to h.
    assert [name.count("dot_general") for name in names] == [1, 1]


@pytest.mark.parametrize(("cell", "how"), [("gru", "hoisted"), ("lstm", "hoisted"),
                                           ("mingru", "associative")])  # fmt: skip
def test_eight_devices_equal_one(cell, how, draw):
    feature_BTD = features(batch=16, steps=9)
    model = make(cell, bidirectional=True, how=how)
    variables = draw(model, feature_BTD)
    mesh = make_mesh(8)
    run = jax.jit(jax.value_and_grad(loss_of(model), (0, 1)))
    sharded = jax.device_put(feature_BTD, NamedSharding(mesh, P("data")))
    program = run.lower(jax.device_put(variables, NamedSharding(mesh, P())), sharded).compile()
    text = program.as_text()
    assert text is not None
    assert "all-gather" not in text  # only the weights' gradients are summed
    values = run(variables, feature_BTD), program(variables, sharded)
    for expected, found in zip(*map(jax.tree.leaves, values), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
