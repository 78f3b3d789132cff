"""Where processes find each other, and what their endings say."""

import types

import jax
import numpy as np
import pytest

from crnn_jax import distributed
from crnn_jax.distributed import find_processes
from crnn_jax.errors import UserError

EXPLICIT = {
    "CRNN_JAX_COORDINATOR": "host:1234",
    "CRNN_JAX_NUM_PROCESSES": "4",
    "CRNN_JAX_PROCESS_ID": "3",
}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "2",
}
FOUND = {"coordinator_address": "host:1234", "num_processes": 4, "process_id": 3}


@pytest.mark.parametrize(
    ("environ", "flags", "expected"),
    [
        ({}, (), None),
        (EXPLICIT, (), FOUND),
        ({}, ("host:1234", "4", "3"), FOUND),
        (EXPLICIT, ("host:1234", "", "0"), {**FOUND, "process_id": 0}),  # a flag comes first
        ({**EXPLICIT, "CRNN_JAX_PROCESS_ID": "", "JOB_COMPLETION_INDEX": "3"}, (), FOUND),
        ({**EXPLICIT, "CRNN_JAX_NUM_PROCESSES": "1", "CRNN_JAX_PROCESS_ID": "0"}, (), None),
        (SLURM, (), {}),  # JAX reads SLURM's variables itself
        ({**SLURM, "SLURM_NTASKS": "1"}, (), None),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}, (), None),  # not inside srun
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, (), {}),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, (), None),
        ({}, ("auto", "", ""), {}),
    ],
)  # fmt: skip
def test_find_processes(environ, flags, expected):
    assert find_processes(environ, *flags) == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("host:1", "4", ""), "found no process_id"),
        (("", "4", "0"), "found no coordinator"),
        (("host", "4", "0"), "--coordinator expects HOST:PORT or auto, found host"),
        (("host:1", "four", "0"), "--num_processes expects a number, found 'four'"),
        (("host:1", "4", "4"), "--process_id expects 0 to 3, found 4"),
    ],
)
def test_find_processes_names_what_is_wrong(flags, message):
    with pytest.raises(UserError, match=message):
        find_processes({}, *flags)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (ValueError("Gloo all-reduce failed: ... Connection closed by peer [127.0.0.1]:4"), True),
        (RuntimeError("UNAVAILABLE: heartbeat"), True),
        (ValueError("operands could not be broadcast"), False),
        (KeyError("gloo"), False),
    ],
)
def test_lost_peers_are_told_from_mistakes(error, lost):
    assert distributed.is_lost_peer(error) == lost


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UserError("expected a thing\x1b"), 2, "error: expected a thing\\x1b"),
        (ValueError("gloo: gone"), distributed.PEER_LOST, "process 0 of 2: another process"),
        (ZeroDivisionError("mine"), 1, "ZeroDivisionError: mine"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_a_process_of_several_leaves_without_waiting(monkeypatch, error, code, text):
    found = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(distributed, "_watch_over_this_process", lambda: None)
    monkeypatch.setattr(distributed, "leave", lambda *arguments: found.append(arguments))
    with distributed.ending_together():
        raise error
    ((said, left),) = found
    assert left == code
    assert text in said


def test_the_server_stops_after_the_last_calls_have_passed(monkeypatch):
    from jax._src.distributed import global_state

    order = []
    server = types.SimpleNamespace(shutdown=lambda: order.append("stopped"))
    monkeypatch.setattr(global_state, "service", None)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)  # no Gloo in tests of one process
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda **_: setattr(global_state, "service", server)
    )
    monkeypatch.setattr(distributed.time, "sleep", lambda seconds: order.append(seconds))
    distributed.start("localhost:1", "2", "0")
    jax.distributed.shutdown()
    assert order == [distributed.SETTLE_SECONDS, "stopped"]


def test_one_process_alone_is_left_in_peace():
    with pytest.raises(KeyError), distributed.ending_together():
        raise KeyError("mine")
    assert distributed.seen_by_all([3, 1]) == [1, 3]
    assert distributed.together(lambda: 5, ValueError) == 5


def test_only_what_every_process_sees_counts(monkeypatch):
    rows = [[1, 2, 3, -1], [2, 3, 4, -1]]
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(distributed, "_of_all", lambda row: __import__("numpy").array(rows))
    assert distributed.seen_by_all([1, 2, 3], most=4) == [2, 3]


def facts(num_train=9, content="a1"):
    train = {"num_examples": num_train, "content": content}
    return {"class_names": ["ant", "bee"], "splits": {"train": train}}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (facts(8), "found 9 train examples of 2 classes on process 0 and 8 train .* on process 2"),
        (facts(content="a2"), "other names or contents on process 2 than on process 0 .9 train"),
    ],
)
def test_processes_with_different_data_all_say_so(monkeypatch, other, words):
    rows = []
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(distributed, "_of_all", lambda row: rows.append(row) or np.stack([row] * 3))
    for mine in (facts(), facts(), other):
        distributed.check_same_on_all(mine)  # what each of them hands to the others
    monkeypatch.setattr(distributed, "_of_all", lambda _: np.stack(rows))
    for mine in (facts(), other):
        with pytest.raises(UserError, match=f"expect the same data.*{words}.*'data.source'"):
            distributed.check_same_on_all(mine)
