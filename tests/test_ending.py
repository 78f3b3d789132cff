"""Signals end a program at once, except for the one that its training loop takes as a request."""

import signal

import pytest

from crnn_jax.ending import SIGNALS
from tests.faults import processes


@pytest.mark.parametrize(
    ("where", "sent"),
    [
        ("setup", [signal.SIGINT]),
        ("stopped", [signal.SIGINT]),
        ("stopped", [signal.SIGTERM]),
        ("setup", [signal.SIGHUP]),
    ],
)
def test_a_signal_ends_what_hangs(where, sent):
    assert set(sent) <= set(SIGNALS)
    program = processes.start("tests.faults.train_process", where)
    assert program.stdout is not None
    assert program.stdout.readline() == "here\n"
    for number in sent:
        program.send_signal(number)
    _, err = program.communicate(timeout=30)
    assert program.returncode == 128 + sent[-1]
    assert err == "interrupted; run the same command again to go on\n"


def test_the_first_one_in_the_loop_is_a_request():
    program = processes.start("tests.faults.train_process", "step")
    assert program.stdout is not None
    program.stdout.readline()
    program.send_signal(signal.SIGINT)
    with pytest.raises(processes.subprocess.TimeoutExpired):
        program.wait(1)
    program.send_signal(signal.SIGINT)
    assert program.wait(30) == 128 + signal.SIGINT
    program.communicate()
