"""A signal to a training's process group, as of Ctrl-C or a batch system, reaches its workers."""

import os
import signal
import time

import pytest

from crnn_jax.flags import resolve_config
from crnn_jax.train.loop import train
from tests.faults import processes
from tests.faults.kills import SECONDS
from tests.train.test_loop import assert_equal_to_the_bit, final_state

pytestmark = pytest.mark.long
STEPS = 600
KEYS = {
    "mesh.data": "1",
    "model.hidden_units": "8",
    "batch_size": "64",
    "duration": f"{STEPS} steps",
    "eval.every": "0 steps",
    "checkpoint.every": "0 steps",
    "log.every": "10 steps",
    "log.tracker": "none",
    "data.pipeline": "streaming",
    "data.num_workers": "1",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The last step and state of a training without an interruption."""
    config = resolve_config("configs/digits.py:rnn", {**KEYS, "data.num_workers": "0"})
    train(config, str(folder := tmp_path_factory.mktemp("whole")))
    return final_state(config, folder)


@pytest.mark.parametrize(("number", "waits"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_a_signal_to_the_group_saves_and_the_resumed_run_is_equal(whole, tmp_path, number, waits):
    """It comes in the midst of steps, or of a wait for data."""
    flags = [f"--config.{key}={value}" for key, value in KEYS.items()]
    program = processes.start(
        "crnn_jax.main", "--config=configs/digits.py:rnn", f"--workdir={tmp_path}", *flags
    )
    metrics = tmp_path / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()):
        assert program.poll() is None
        time.sleep(0.01)
    if waits:
        os.kill(worker := processes.wait_for_worker(program.pid), signal.SIGSTOP)
        time.sleep(1)  # the batches that it has read are used up
    os.killpg(program.pid, number)
    if waits:
        os.kill(worker, signal.SIGCONT)
    out, err = program.communicate(timeout=SECONDS)
    assert (program.returncode, err) == (128 + number, "")
    assert "stopped by a signal, saved at step" in out
    config = resolve_config("configs/digits.py:rnn", KEYS)
    step, _ = final_state(config, tmp_path)
    assert 0 < step < STEPS
    train(config, str(tmp_path))
    assert_equal_to_the_bit(final_state(config, tmp_path), whole)
