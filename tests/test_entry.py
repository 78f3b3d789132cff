"""Every program that trains begins alike: signals end it at once, lost output does not."""

import pathlib
import re
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import sys, time
from crnn_jax.entry import run_training

def main(argv):
    print(argv, flush=True)
    sys.stdin.readline()
    for _ in range(3):
        print("nobody reads this", flush=True)
    try:  # as a callback of JAX's does, in which Python's own KeyboardInterrupt is lost
        print("alive", file=sys.stderr, flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(60)

run_training(main)
"""
TRAINS = re.compile(r"\b(run_points|run_or_read)\(|train\.loop import train\b")


def test_output_may_be_lost_and_a_signal_ends_it_at_once():
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--a"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline() == "['--a']\n"
        program.stdout.close()
        program.stdin.write("\n")
        program.stdin.close()
        assert program.stderr.readline() == "alive\n"
        program.send_signal(signal.SIGINT)
        assert program.wait(30) == 128 + signal.SIGINT
        assert program.stderr.read() == "interrupted; run the same command again to go on\n"


FOLDER = pathlib.Path(__file__).parent.parent / "crnn_jax"
PROGRAMS = {
    path.stem: text
    for path in [FOLDER / "main.py", *sorted((FOLDER / "studies").glob("*.py"))]
    if "__main__" in (text := path.read_text()) and TRAINS.search(text)
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_train_begin_so(name):
    assert PROGRAMS[name].endswith('if __name__ == "__main__":\n    run_training(main)\n')


def test_the_programs_that_train():
    assert {"main", "seeds", "tune", "table1", "variants", "transfer"} <= PROGRAMS.keys()
