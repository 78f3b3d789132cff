"""The GRU's kernels, interpreted on a CPU, and against `scan` on a GPU.

An interpreter runs one program of the grid after another, so that programs that wait for each other
are tested on a GPU alone: TEST_PLATFORM=cuda python -m pytest -m gpu tests/kernels
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.kernels import gru
from crnn_jax.kernels.tile import Tile
from crnn_jax.models.recurrent import RecurrentLayer


def test_states_through_memory_equal_states_in_registers():
    random = np.random.default_rng(0)
    shapes = {"gate_x_BTG": (32, 5, 96), "kernel_h": (32, 96), "bias_h_N": (32,)}
    inputs = {k: jnp.asarray(0.2 * random.normal(size=s), jnp.float32) for k, s in shapes.items()}
    grads = [jnp.asarray(random.normal(size=s), jnp.float32) for s in ((32, 5, 32), (32, 32))]

    def run(depth):
        tile = Tile(16, 32, depth, 4)
        assert tile.alone(32) == (depth == 32)
        setting = gru.Setting(tile, 5, 32, False, False, jnp.float32, 0, interpret=True)
        state, before, kept = gru.forward(**inputs, mask_BT=None, setting=setting, keep=True)
        kernel_h = inputs["kernel_h"]
        return state, *gru.backward(kept, before, grads[0], grads[1], kernel_h, None, setting)

    registers, memory = (jax.jit(run, static_argnums=0)(depth) for depth in (32, 16))
    for expected, found in zip(registers, memory, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("units", "batch", "steps", "dtype", "masked", "reverse"),
    [
        (128, 128, 9, jnp.bfloat16, False, False),
        (256, 128, 9, jnp.bfloat16, True, False),
        (256, 1024, 5, jnp.bfloat16, False, True),
        (512, 1024, 9, jnp.bfloat16, True, True),
        (100, 37, 1, jnp.bfloat16, False, False),
        (300, 37, 33, jnp.float32, True, False),
        (256, 128, 9, jnp.float32, False, True),
    ],
)
def test_equals_scan_on_a_gpu(units, batch, steps, dtype, masked, reverse):
    if jax.default_backend() != "gpu":
        pytest.skip("needs a GPU: TEST_PLATFORM=cuda")
    random = np.random.default_rng(0)

    def draw(*shape, scale=1.0):
        return jnp.asarray(scale * random.normal(size=shape), jnp.float32)

    feature_BTD = draw(batch, steps, 24)
    params = {
        "kernel_x": draw(24, 3 * units, scale=24**-0.5),
        "bias": draw(3 * units, scale=0.3),
        "kernel_h": draw(units, 3 * units, scale=units**-0.5),
        "bias_h": draw(units, scale=0.3),
    }
    lengths_B1 = random.integers(1, steps + 1, (batch, 1))
    mask_BT = jnp.arange(steps) < lengths_B1 if masked else None
    grads = draw(batch, steps, units), draw(batch, units)

    def both(how):
        layer = RecurrentLayer("gru", units, reverse, how, False, dtype)
        call = lambda params, x: layer.apply({"params": params}, x, mask_BT)  # noqa: E731
        ends, pull = jax.vjp(call, params, feature_BTD)
        return ends, pull(grads)

    # A TF32 product of the reference would be as far off as bfloat16.
    with jax.default_matmul_precision("highest"):
        expected, found = (jax.jit(both, static_argnums=0)(how) for how in ("scan", "fused"))
    limit = 2e-2 if dtype == jnp.bfloat16 else 1e-5
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(b, a, atol=limit * np.abs(a).max(), rtol=0)
