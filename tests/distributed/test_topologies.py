"""The same training on any mesh of one process: losses, gradients, checkpoints, bytes."""

import jax
import numpy as np
import pytest

from crnn_jax.checkpoint import Checkpoints
from crnn_jax.sharding import device_bytes
from tests.distributed.small_run import STEPS, assert_same_gradient, run, topology

MESHES = [(2, 1, 1), (4, 1, 1), (8, 1, 1), (1, 8, 1), (2, 2, 2), (1, 2, 4)]


@pytest.fixture(scope="module")
def reference():
    """(losses, states) of one device."""
    one = topology(1)
    return run(one, one[-1], STEPS)


@pytest.mark.parametrize("mesh", MESHES)
def test_every_mesh_trains_alike(reference, mesh):
    experiment, *_, start = this = topology(*mesh)
    losses, states = run(this, start, STEPS)
    assert tuple(experiment.mesh.shape.values()) == mesh
    assert len(states[0].params["head"]["dense"]["bias"].sharding.device_set) == np.prod(mesh)
    np.testing.assert_allclose(losses[0], reference[0][0], rtol=1e-5)
    assert_same_gradient(start.params, states[0].params, reference[1][0].params)
    np.testing.assert_allclose(losses, reference[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("old", "new"),
    [((8, 1, 1), (1, 1, 1)), ((1, 1, 1), (8, 1, 1)), ((8, 1, 1), (1, 8, 1))],
    ids=["8 to 1", "1 to 8", "data to fsdp"],
)
def test_a_run_goes_on_on_another_mesh(reference, tmp_path, old, new):
    half = STEPS // 2
    before, after = topology(*old), topology(*new)
    _, states = run(before, before[-1], half)
    with Checkpoints(tmp_path, keep_latest=1, keep_best=False) as checkpoints:
        checkpoints.save(half, states[-1])
    restored = checkpoints.restore(after[0].abstract_state())
    assert restored is not None
    step, state = restored
    assert step == int(state.step) == half
    kernel = state.params["recurrent"]["layer_0"]["kernel_h"]
    assert len(kernel.sharding.device_set) == np.prod(new)
    assert ("fsdp" in kernel.sharding.spec) == (new[1] > 1)
    losses, _ = run(after, state, half)
    np.testing.assert_allclose(losses, reference[0][half:], rtol=1e-4)


def test_fsdp_holds_a_seventh_and_computes_the_same():
    wide = {"model__hidden_units": 256, "optim__name": "adamw", "model__width": 16}
    held, losses = [], []
    for mesh in ((8, 1, 1), (1, 8, 1)):
        *_, start = this = topology(*mesh, **wide)
        held.append(device_bytes((start.params, start.opt_state)))
        found, states = run(this, start, 3)
        losses.append(found)
        leaf = states[-1].opt_state[0].mu["recurrent"]["layer_0"]["kernel_h"]
        assert leaf.addressable_shards[0].data.nbytes * mesh[1] == leaf.nbytes
    assert held[1] <= held[0] / 7
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_the_wrong_rules_would_be_seen(reference):
    """Another seed is another training: the comparisons above can fail."""
    other = topology(1, seed=1)
    losses, states = run(other, other[-1], 1)
    assert abs(losses[0] - reference[0][0]) > 1e-3
    with pytest.raises(AssertionError):
        assert_same_gradient(other[-1].params, states[0].params, reference[1][0].params)


def test_accumulated_equals_the_large_batch():
    """Without BatchNorm and dropout; with images of weight 0, which the parts share unevenly."""
    keys = {"model__norm": False, "model__dropout": 0.0, "optim__clip_norm": 0.5}
    whole = topology(2, **keys)
    parts = topology(2, **keys, optim__accumulation_steps=4)

    def unevenly(run_of):
        experiment, inputs, *rest = run_of
        weight_N = np.where(np.arange(experiment.num_train) % 3 == 1, 0, 1).astype(np.float32)
        placed = jax.device_put(weight_N, inputs["weight_N"].sharding)
        return (experiment, {**inputs, "weight_N": placed}, *rest)

    losses, states = run(unevenly(whole), whole[-1], 3)
    found_losses, found_states = run(unevenly(parts), parts[-1], 3)
    np.testing.assert_allclose(found_losses, losses, rtol=1e-5)
    assert_same_gradient(whole[-1].params, found_states[0].params, states[0].params)
    assert losses[0] != pytest.approx(run(whole, whole[-1], 1)[0][0], rel=1e-5)
