"""Workers leave signals to the main process, end with it, and are replaced when one is killed."""

import dataclasses
import json
import multiprocessing
import multiprocessing.process
import os
import pathlib
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from crnn_jax import mesh as mesh_lib
from crnn_jax.data import slots, workers
from crnn_jax.data.fields import Example
from crnn_jax.data.splits import Split, labelled, labelled_fields
from crnn_jax.data.streaming import StreamingPipeline
from crnn_jax.errors import UserError
from tests.faults import processes

pytestmark = pytest.mark.long

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev/shm")


@dataclasses.dataclass(eq=False)
class DeadlyReader:
    """Images of equal pixels, one of which kills the worker that reads it."""

    deadly: int = -1
    ballast: np.ndarray | None = None  # that a worker gets, too

    def __call__(self, index: int) -> Example:
        if index == self.deadly and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return labelled(index % 10, image=np.full((4, 4, 3), index, np.uint8))


def stream(deadly=-1, num_workers=1, ballast=None):
    return StreamingPipeline(
        Split("train", 40, labelled_fields((4, 4, 3)), DeadlyReader(deadly, ballast)),
        batch_size=8,
        seed=3,
        mesh=mesh_lib.make_mesh(),
        skip_corrupt=False,
        num_workers=num_workers,
    ).train_inputs(0)


def take(inputs, count):
    return [jax.device_get(next(inputs)) for _ in range(count)]


def children():
    found = multiprocessing.active_children()
    assert found
    return found


@pytest.fixture
def held():
    """A program that holds a stream of two workers, and the numbers of these."""
    program = processes.start("tests.faults.hold_stream", "2")
    assert program.stdout is not None
    numbers = json.loads(program.stdout.readline())
    assert len(numbers) == 2
    yield program, numbers
    os.killpg(program.pid, signal.SIGKILL)
    program.communicate()


def shared_on_this_machine():
    return set(pathlib.Path("/dev/shm").glob("*crnn_*"))


@pytest.mark.parametrize("number", workers.SIGNALS)
def test_a_worker_leaves_signals_to_the_main_process(number):
    inputs = stream()
    first = take(inputs, 1)
    (worker,) = children()
    assert worker.pid is not None
    os.kill(worker.pid, number)
    rest = take(inputs, 9)  # more than it has read ahead
    assert [child.pid for child in children()] == [worker.pid]
    inputs.close()
    expected = stream(num_workers=0)
    jax.tree.map(np.testing.assert_array_equal, first + rest, take(expected, 10))
    expected.close()


@linux
def test_signals_cannot_end_a_worker_before_it_ignores_them(monkeypatch):
    """A worker is born with them blocked, as it takes a second to come to the ignoring."""
    blocked = []
    start = multiprocessing.process.BaseProcess.start

    def spy(self):
        start(self)
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigBlk"))
        blocked.append(int(mask, 16))

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", spy)
    inputs = stream()
    next(inputs)
    inputs.close()
    for number in workers.SIGNALS:
        assert [mask >> (number - 1) & 1 for mask in blocked] == [1]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(workers.SIGNALS)


@linux
def test_workers_end_when_the_main_process_is_killed(held):
    program, numbers = held
    program.kill()
    assert all(processes.wait_for_end(number, 20) for number in numbers)


@linux
def test_what_a_killed_group_leaves_is_removed_by_the_next_stream(held):
    program, _ = held
    slots.remove_orphans()  # what other runs on this machine have left
    before = shared_on_this_machine()
    slots.remove_orphans()
    assert shared_on_this_machine() >= {p for p in before if p.suffix == ".lock"}  # it is running
    os.killpg(program.pid, signal.SIGKILL)
    program.wait()
    before = shared_on_this_machine()  # the workers may have taken more until they ended
    assert any(path.name.startswith("sem.") for path in before)  # of the queues to the workers
    slots.MainSlots().close()
    left = shared_on_this_machine()
    assert len(before - left) >= 4  # a lock, two workers' numbers, a slot


def test_a_killed_worker_is_started_again(capfd):
    inputs = stream()
    first = take(inputs, 2)
    (worker,) = children()
    worker.kill()
    rest = take(inputs, 8)
    inputs.close()
    assert capfd.readouterr().err.count("a loader worker was killed") == 1
    expected = stream(num_workers=0)
    jax.tree.map(np.testing.assert_array_equal, first + rest, take(expected, 10))
    expected.close()


def test_a_worker_killed_again_at_the_same_batch_ends_it_in_one_line():
    with pytest.raises(UserError, match=r"read batch \d of split 'train', .*twice .*code -9"):
        take(stream(deadly=5), 5)
    assert multiprocessing.active_children() == []


def test_a_worker_that_was_stopped_is_not_waited_for(monkeypatch):
    """Grain kills it too, in the thread that closes, when its own patience has ended: too late."""
    kill, killers = multiprocessing.process.BaseProcess.kill, []

    def noted(worker):
        killers.append((worker, threading.current_thread()))
        kill(worker)

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "kill", noted)
    monkeypatch.setattr(workers, "PATIENCE_SECONDS", 0.2)
    inputs = stream()
    next(inputs)
    (worker,) = children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    inputs.close()
    ((killed, thread),) = killers
    assert killed is worker
    assert isinstance(thread, threading.Timer)
    assert multiprocessing.active_children() == []


@linux
def test_a_worker_that_is_still_starting_is_killed_too():
    """`multiprocessing` counts it only when it has been given its work."""
    command = [sys.executable, "-c", "input()", "--multiprocessing-fork"]
    worker, other = (
        subprocess.Popen(arguments, stdin=subprocess.PIPE) for arguments in (command, command[:3])
    )
    try:
        workers._kill_all()
        assert worker.wait(10) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@linux
@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_is_killed_before_it_has_read_its_work(monkeypatch, capfd, times):
    """Its work is more than a pipe holds: nobody would read the rest."""
    killed = []

    def spawn(path, args, passfds):
        pid = start(path, args, passfds)
        if "--multiprocessing-fork" in map(os.fsdecode, args) and len(killed) < times:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        return pid

    start = workers._spawn
    monkeypatch.setattr(workers, "_spawn", spawn)
    inputs = stream(ballast=np.zeros(1_000_000, np.uint8))
    if times == 2:
        with pytest.raises(UserError, match=r"killed twice \(exit code -9\)"):
            next(inputs)
    else:
        expected = stream(num_workers=0)
        jax.tree.map(np.testing.assert_array_equal, take(inputs, 3), take(expected, 3))
        expected.close()
    inputs.close()
    assert capfd.readouterr().err.count("a loader worker was killed") == 1
