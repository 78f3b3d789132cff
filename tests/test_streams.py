"""Output that is closed, full or read no further; names that its encoding lacks."""

import os
import subprocess
import sys

import pytest

PRINTS = """
import sys
from crnn_jax.errors import one_line_errors
from crnn_jax.streams import forgive_lost_output, open_standard_files
open_standard_files()
if {forgives}:
    forgive_lost_output()
with one_line_errors():
    print("café \\udce9 \\u4e2d", flush=True)
    sys.stdin.readline()
    for number in range({lines}):
        print(number, flush={flush})
print("alive", file=sys.stderr)
"""


def run_unread(forgives, lines, flush, encoding="utf-8"):
    """Returns (exit code, first line, stderr) of a program whose output is read no further."""
    with subprocess.Popen(
        [sys.executable, "-c", PRINTS.format(forgives=forgives, lines=lines, flush=flush)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    ) as program:
        assert program.stdout is not None
        assert program.stdin is not None
        assert program.stderr is not None
        first = program.stdout.readline()
        program.stdout.close()
        program.stdin.write(b"\n")
        program.stdin.close()
        err = program.stderr.read().decode()
    return program.returncode, first, err


@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.parametrize("flush", [True, False])
def test_output_that_nobody_reads_ends_a_program_quietly(lines, flush):
    assert run_unread(False, lines, flush)[::2] == (128 + 13, "")


@pytest.mark.parametrize("flush", [True, False])
def test_a_training_goes_on_without_a_reader(flush):
    assert run_unread(True, 100_000, flush)[::2] == (0, "alive\n")


@pytest.mark.parametrize("forgives", [True, False])
def test_what_the_encoding_lacks_is_escaped(forgives):
    first = run_unread(forgives, 0, True, "ascii")[1]
    assert first == b"caf\\xe9 \\udce9 \\u4e2d\n"
    assert run_unread(forgives, 0, True)[1] == "café \\udce9 中\n".encode()


def shell(redirection, forgives):
    """Returns what a program says on stderr, started with this redirection, and its exit code."""
    code = PRINTS.format(forgives=forgives, lines=3, flush=True)
    command = f'"$0" -c "$1" </dev/null {redirection}'
    found = subprocess.run(
        ["sh", "-c", command, sys.executable, code], stderr=subprocess.PIPE, text=True
    )
    return found.returncode, found.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_one_line_and_a_training_goes_on():
    expected = "error: expected output that can be written, found: No space left on device"
    code, err = shell(">/dev/full", forgives=False)
    assert (code, err) == (2, f"{expected}; make room\n")
    assert shell(">/dev/full", forgives=True) == (0, "alive\n")
    assert shell(">/dev/full 2>/dev/full", forgives=True) == (0, "")


@pytest.mark.parametrize("forgives", [False, True])
def test_output_that_is_closed_goes_nowhere(forgives):
    assert shell(">&-", forgives) == (0, "alive\n")
    assert shell(">&- 2>&-", forgives) == (0, "")


OPENS = """
import os
from crnn_jax.streams import open_standard_files
os.close(0), os.close(1)
open_standard_files()
number = os.open("/dev/null", os.O_RDONLY)
raise SystemExit(number)
"""


def test_no_other_file_gets_a_standard_one_s_number():
    assert subprocess.run([sys.executable, "-c", OPENS]).returncode > 2
