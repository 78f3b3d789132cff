"""Two processes of four devices: one run, equal to that of one process; a lost one ends both."""

import json
import re
import signal
import subprocess
import time

import jax
import numpy as np
import pytest
from PIL import Image

from crnn_jax.distributed import PEER_LOST
from crnn_jax.train.loop import train
from tests.distributed.small_run import (
    STEPS,
    arguments,
    assert_same_gradient,
    config_of,
    environment,
    logged,
    processes,
    run,
    saved,
    topology,
)

# By us, or by JAX: an abort, after which a child of the process still says why.
ENDED = (PEER_LOST, -signal.SIGABRT)
MANY = {"duration": "4000 steps", "checkpoint__every": "5 steps", "checkpoint__keep_latest": 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of two processes, started by the launcher, and what it printed."""
    workdir = tmp_path_factory.mktemp("whole")
    done = subprocess.run(
        ["launch/local_processes.sh", "2", "4", "--", *arguments(workdir)],
        env=environment(4),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return workdir, done.stdout


def test_two_processes_train_as_one(whole):
    workdir, _ = whole
    one = topology(1)
    losses, states = run(one, one[-1], STEPS)
    assert list(logged(workdir)) == list(range(1, STEPS + 1))
    found = list(logged(workdir).values())
    np.testing.assert_allclose(found[0], losses[0], rtol=1e-5)
    np.testing.assert_allclose(found, losses, rtol=1e-4)
    _, first = saved(workdir, one[0], step=1)
    assert_same_gradient(one[-1].params, first.params, states[0].params)


def test_one_process_speaks_and_the_evaluation_is_exact(whole):
    workdir, out = whole
    result = json.loads((workdir / "result.json").read_text())
    assert result["test"]["num_examples"] == 360  # 2 x 4 devices divide no batch of it evenly
    assert out.count("results in") == out.count("test accuracy") == 1
    assert result["devices"].endswith("8 virtual devices")
    assert result["steps"] == STEPS


def test_processes_with_different_data_end_with_one_line(tmp_path):
    command = []
    for index in range(2):
        for part in ("train", "test"):
            for number in range(8 + index):
                path = tmp_path / f"photos_{index}" / part / "ant" / f"{number}.bmp"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), number).save(path)
        command.append(f"--config.data.source=folder:{tmp_path / f'photos_{index}'}")
    with processes(2, tmp_path / "run", each=[[item] for item in command]) as started:
        ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [2, 2]
    for _, err in ended:
        assert "expect the same data, found 8 train, 8 test examples of 1 classes on proces" in err
        assert "Traceback" not in err
    assert not (tmp_path / "run" / "config.json").exists()


def test_data_that_one_process_lacks_end_all_with_one_line(tmp_path):
    """Exit code 2 on all: a launcher starts no run again for a mistake."""
    source = f"--config.data.source=folder:{tmp_path / 'photos'}"
    with processes(2, tmp_path / "run", each=[[], [source]]) as started:
        (_, first), (_, second) = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [2, 2]
    assert "error: another process of this run found a mistake, and says which\n" in first
    assert f"expects a folder of images, found no '{tmp_path / 'photos'}'" in second


def wait_for_checkpoint(workdir, started, seconds=150):
    deadline = time.time() + seconds
    while not any(path.name.isdecimal() for path in workdir.glob("checkpoints/*")):
        for process in started:
            assert process.poll() is None, process.communicate()
        assert time.time() < deadline
        time.sleep(0.1)


def killed_one(workdir, killed, **changes):
    """Returns (exit code, stderr) of the process that was not killed."""
    with processes(2, workdir, **{**MANY, **changes}) as started:
        wait_for_checkpoint(workdir, started)
        started[killed].send_signal(signal.SIGKILL)
        _, err = started[1 - killed].communicate(timeout=60)
        return started[1 - killed].returncode, err


def test_a_killed_process_ends_the_other_and_a_restart_goes_on(tmp_path):
    """The restart is one process and another mesh: 2 x 4 with fsdp to 8 of data."""
    code, err = killed_one(tmp_path, 1, mesh__fsdp=4, checkpoint__every="30 steps")
    assert code in ENDED, err
    assert err.count("process 0 of 2: another process of this run has ended") == 1
    assert "goes on from the last checkpoint" in err
    end = max(int(p.name) for p in tmp_path.glob("checkpoints/*") if p.name.isdecimal()) + 3
    config = config_of(**{**MANY, "checkpoint__every": "30 steps", "duration": f"{end} steps"})
    stored = json.loads((tmp_path / "config.json").read_text())  # the same run, but shorter
    (tmp_path / "config.json").write_text(json.dumps({**stored, "duration": config.duration}))
    train(config, str(tmp_path))
    one = topology(1)
    losses, _ = run(one, one[-1], end)
    found = logged(tmp_path)
    assert list(found) == list(range(1, end + 1))
    np.testing.assert_allclose(list(found.values())[-3:], losses[-3:], rtol=1e-3)


def test_the_end_of_the_first_process_ends_the_other(tmp_path):
    """It holds JAX's coordination service, without which JAX aborts the others."""
    code, err = killed_one(tmp_path, 0)
    assert code in ENDED, err
    assert err.count("process 1 of 2: another process of this run has ended") == 1


def test_a_signal_to_one_process_stops_both_at_the_same_step(tmp_path):
    with processes(2, tmp_path, **MANY) as started:
        wait_for_checkpoint(tmp_path, started)
        started[1].send_signal(signal.SIGTERM)
        (out, err), (other_out, other_err) = (p.communicate(timeout=60) for p in started)
    codes = [process.returncode for process in started]
    assert codes == [128 + signal.SIGTERM] * 2, (err, other_err)
    stopped = re.search(r"stopped by a signal, saved at step (\d+)", out)
    assert stopped is not None
    assert "stopped" not in other_out
    assert saved(tmp_path, topology(1)[0])[0] == int(stopped[1])


def test_equal_bits_of_two_processes_and_one(tmp_path):
    keys = {"reproducible": True, "duration": "3 steps"}
    with processes(2, tmp_path, **keys) as started:
        _, err = started[0].communicate(timeout=200)
        assert started[0].returncode == 0, err
    one = topology(1, **keys)
    _, states = run(one, one[-1], 3)
    _, found = saved(tmp_path, one[0])
    for a, b in zip(*(jax.tree.leaves(x) for x in (found, states[-1])), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
