"""`reproducible`: equal bits on any number of devices, and the training that it was."""

import jax
import numpy as np
import pytest

from crnn_jax.errors import UserError
from tests.distributed.small_run import config_of, run, topology

KEYS = {"reproducible": True, "optim__name": "adamw", "optim__clip_norm": 0.5}


def bits(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def on_one():
    one = topology(1, **KEYS)
    return run(one, one[-1], 4)


@pytest.mark.parametrize("devices", [2, 8])
def test_equal_bits_on_any_number_of_devices(on_one, devices):
    this = topology(devices, **KEYS)
    losses, states = run(this, this[-1], 4)
    assert losses == on_one[0]
    assert bits(states[-1]) == bits(on_one[1][-1])
    assert len(states[-1].params["head"]["dense"]["bias"].sharding.device_set) == devices


def test_without_batchnorm_and_dropout_it_is_the_usual_training():
    keys = {"optim__name": "adamw", "model__norm": False, "model__dropout": 0.0}
    usual, shards = topology(1, **keys), topology(1, reproducible=True, **keys)
    losses, _ = run(usual, usual[-1], 4)
    np.testing.assert_allclose(run(shards, shards[-1], 4)[0], losses, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mesh__fsdp": 2}, "'mesh.fsdp' expects 1 with 'reproducible', found 2"),
        ({"optim__accumulation_steps": 2}, "'optim.accumulation_steps' expects 1"),
        ({"batch_size": 60}, r"'batch_size' expects a multiple of 'logical_shards' \(8\)"),
    ],
)
def test_what_does_not_go_with_it_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        config_of(reproducible=True, **changes)


def test_devices_that_do_not_divide_the_shards_are_refused():
    with pytest.raises(UserError, match="'logical_shards' expects a multiple of the 8 devices"):
        topology(8, reproducible=True, logical_shards=4)
