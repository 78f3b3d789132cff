"""Bytes and calls read off a program's text: by hand, and from a program that XLA made."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax import mesh as mesh_lib
from crnn_jax.collectives import read_traffic

TEXT = """HloModule m
%body.1 (p: f32[8]) -> f32[8] {
  %all-reduce.4 = f32[8,4]{1,0} all-reduce(%x), channel_id=1, to_apply=%add
}
%inner.2 (p: f32[8]) -> f32[8] {
  %w = (s32[], f32[8]) while(%t), condition=%c, body=%body.1, backend_config={"known_trip_count":{"n":"3"}}
}
ENTRY %main.9 (a: f32[4]) -> f32[4] {
  %while.3 = (s32[], f32[8]) while(%t), condition=%c2, body=%inner.2, backend_config={"known_trip_count":{"n":"2"}}
  %all-reduce.7 = (f32[16]{0}, bf16[2,2]{1,0}) all-reduce(%a, %b), to_apply=%add
  %all-gather-start.1 = (f32[4]{0}, f32[32]{0}) all-gather-start(%a), dimensions={0}
  %all-gather-done.1 = f32[32]{0} all-gather-done(%all-gather-start.1)
  %get-tuple-element = f32[16]{0} get-tuple-element(%all-reduce.7), index=0
}
"""  # noqa: E501


def test_by_hand():
    traffic = read_traffic(TEXT)
    assert traffic.calls["all-reduce"] == 3 * 2 + 1  # in a loop inside a loop, and outside
    assert traffic.num_bytes["all-reduce"] == 6 * 32 * 4 + 16 * 4 + 4 * 2
    assert traffic.calls["all-gather"] == 1
    assert traffic.num_bytes["all-gather"] == 32 * 4
    assert traffic.total_calls == 8
    assert traffic.total_bytes == 6 * 128 + 72 + 128


@pytest.mark.parametrize("steps", [1, 3])
def test_a_compiled_gradient(steps):
    """The gradient of a replicated matrix: its bytes cross once a step of the loop it stands in."""
    mesh = mesh_lib.make_mesh(4)
    x_BD = mesh_lib.place(np.ones((8, 16), np.float32), mesh_lib.batch_sharding(mesh))
    kernel = mesh_lib.place(np.ones((16, 16), np.float32), mesh_lib.replicated(mesh))

    def loss(kernel, x_BD):
        def body(carry, _):
            return jnp.tanh(carry @ kernel), None

        return jnp.sum(jax.lax.scan(body, x_BD, None, length=steps)[0])

    program = jax.jit(jax.grad(loss), out_shardings=mesh_lib.replicated(mesh))
    text = program.lower(kernel, x_BD).compile().as_text()
    assert text is not None
    traffic = read_traffic(text)
    assert traffic.num_bytes["all-reduce"] == steps * kernel.nbytes
