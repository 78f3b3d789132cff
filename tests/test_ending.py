"""Signals end a program at once, except for the one that its training loop takes as a request."""

import signal
import subprocess
import sys

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


def test_a_second_signal_on_the_way_out_ends_it_too():
    """It interrupts the very handler that is ending the process."""
    code = (
        "import os, signal\n"
        "from crnn_jax import ending\n"
        "def farewell():\n"
        "    ending.FAREWELLS.remove(farewell)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "ending.FAREWELLS.append(farewell)\n"
        "for number in ending.SIGNALS:\n"
        "    signal.signal(number, ending._end)\n"
        "signal.raise_signal(signal.SIGINT)\n"
    )
    program = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=8, check=False
    )
    assert program.returncode == 128 + signal.SIGINT
    assert program.stderr == "interrupted; run the same command again to go on\n"


def test_the_first_one_in_the_loop_is_a_request():
    program = processes.start("tests.faults.train_process", "step")
    assert program.stdout is not None
    program.stdout.readline()
    program.send_signal(signal.SIGINT)
    assert program.stdout.readline() == "requested\n"
    assert program.poll() is None
    program.send_signal(signal.SIGINT)
    assert program.wait(30) == 128 + signal.SIGINT
    program.communicate()


def test_a_process_ends_with_the_one_that_started_it():
    child = (
        "import sys, time\n"
        "from crnn_jax.ending import end_with\n"
        "end_with(int(sys.argv[1]))\n"
        "print('here', flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = (
        "import os, subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {child!r}, str(os.getpid())])\n"
    )
    program = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "here\n"
    program.kill()
    assert program.communicate(timeout=30)[0] == ""  # the child's stdout, which is closed
