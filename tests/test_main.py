"""What the command prints, and how the process ends."""

import subprocess
import sys

import pytest

from crnn_jax.main import main

DIGITS = "configs/digits.py:crnn"


def run(*arguments):
    command = [sys.executable, "-m", "crnn_jax.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.smoke
def test_help_needs_no_jax():
    done = run("--help")
    assert done.returncode == 0
    assert "--config" in done.stdout
    # It answers within 2 s because nothing heavy is imported: that is what can be tested.
    code = "import sys, crnn_jax.main; sys.exit(any(m in sys.modules for m in ('jax', 'flax')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=" + DIGITS, "--workdir=W", "--config.sed=1"], "did you mean 'seed'"),
        (["--config=" + DIGITS, "--workdir=W", "--config.batch_size=0"], "above 0"),
        (["--config=" + DIGITS], "--workdir"),
        (["--config=" + DIGITS, "--workdir=W", "--profile=9"], "FIRST:LAST"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main([a.replace("=W", f"={tmp_path}/w") for a in arguments])
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err
    assert not (tmp_path / "w").exists()
