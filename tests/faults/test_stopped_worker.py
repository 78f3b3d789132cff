"""A loader worker that is stopped ends an evaluation, as it does a training."""

import contextlib
import json
import os
import signal
import sys

import pytest

from crnn_jax.distributed import PEER_LOST
from tests.faults import processes

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


def test_an_evaluation_whose_worker_is_stopped_ends_in_one_line(finished):
    workdir = finished("rnn", data__pipeline="streaming")
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["num_workers"], config["mesh"]["stuck_seconds"] = 1, 3.0
    (workdir / "config.json").write_text(json.dumps(config))
    program = processes.start("crnn_jax.evaluate", f"--workdir={workdir}")
    worker = processes.wait_for_worker(program.pid)
    os.kill(worker, signal.SIGSTOP)  # before it has read anything
    try:
        out, err = program.communicate(timeout=40)
        assert (program.returncode, out) == (PEER_LOST, "")
        line = err.splitlines()[-1]
        assert line.startswith("no batch of an evaluation for 3 s after batch 0 ('mesh.stuck")
        assert processes.wait_for_end(worker, 20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
