import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models.recurrent.time_steps import over_steps, unroll_steps


def running_sum(carry, old, read):
    """The sum so far replaces each value; twice the value read comes out."""
    carry = (carry[0] + old[0],)
    return carry, carry, 2 * read


def test_short_sequences_are_unrolled_whole():
    assert [unroll_steps(steps) for steps in (1, 4, 8, 9, 64)] == [1, 4, 8, 1, 1]


@pytest.mark.parametrize("num_steps", [3, 12])  # unrolled, and in a loop
def test_new_values_take_the_place_of_the_old_ones(num_steps):
    old_BT = jnp.arange(2.0 * num_steps).reshape(2, num_steps)

    @jax.jit
    def run(old_BT):
        zero = (jnp.zeros(2),)
        return [
            over_steps(running_sum, zero, (old_BT,), -old_BT, reverse=reverse, replace=replace)
            for reverse in (False, True)
            for replace in (True, False)
        ]

    sums = [np.cumsum(old_BT, axis=1), np.cumsum(old_BT[:, ::-1], axis=1)[:, ::-1]]
    found = run(old_BT)
    for (carry, new, output), forgetful, expected in zip(
        found[::2], found[1::2], sums, strict=True
    ):
        np.testing.assert_array_equal(carry[0], old_BT.sum(1))
        np.testing.assert_array_equal(new[0], expected)
        np.testing.assert_array_equal(output, -2 * old_BT)
        assert forgetful[1] == ()
        for a, b in zip(*map(jax.tree.leaves, ((carry, output), forgetful[::2])), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_loop_copies_no_whole_array():
    shape = (8, 12, 64)

    def step(carry, old, read):
        return (jnp.tanh(carry[0] + old[0]),), (carry[0] * old[0],), ()

    def run(old_BTN):
        return over_steps(step, (old_BTN[:, 0],), (old_BTN,), (), reverse=True)[1]

    program = jax.jit(run, donate_argnums=0).lower(jax.ShapeDtypeStruct(shape, jnp.float32))
    memory = program.compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 4 * np.prod(shape) / 2
