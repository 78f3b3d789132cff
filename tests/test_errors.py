"""One line and exit code 2, whatever the mistake."""

import pathlib

import pytest

from crnn_jax.errors import OneLineParser, UserError, closest, one_line_errors, printable


def test_closest():
    assert closest("lerning_rate", ["learning_rate", "seed"]) == " (did you mean 'learning_rate'?)"
    assert closest("xyz", ["learning_rate", "seed"]) == ""


def test_a_mistake_is_one_line_and_code_2(capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise UserError("expected a, found 'b\n  c\x1b[31m'")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: expected a, found 'b\\n  c\\x1b[31m'\n"


def test_an_interrupt_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise KeyboardInterrupt
    assert stop.value.code == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        raise ZeroDivisionError


@pytest.mark.parametrize("arguments", [[], ["--work=1"], ["--workdir=a", "ex\ntra"]])
def test_wrong_arguments_are_one_line(capsys, arguments):
    parser = OneLineParser(prog="p")
    parser.add_argument("--workdir", required=True)
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(arguments)
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_description_keeps_its_lines(capsys):
    with pytest.raises(SystemExit):
        OneLineParser(prog="p", description="What.\n\n    p --x=1\n    p --x=2\n").parse_args(
            ["-h"]
        )
    assert "What.\n\n    p --x=1\n    p --x=2\n" in capsys.readouterr().out


def test_a_tilde_is_the_home_in_every_flag(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    parser = OneLineParser(prog="p")
    parser.add_argument("--workdir", action="append")
    parser.add_argument("--out", type=pathlib.Path, default="~/out")
    parser.add_argument("--num", type=int, default=3)
    parser.add_argument("paths", nargs="*")
    flags = parser.parse_args(["--workdir=~/a", "--workdir", "b~c", "~/x.png", "./~"])
    assert vars(flags) == {
        "workdir": ["/home/me/a", "b~c"],
        "out": pathlib.Path("/home/me/out"),
        "num": 3,
        "paths": ["/home/me/x.png", "./~"],
    }


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--workdir="], "--workdir"),
        (["--file", ""], "--file"),
        (["--workdir=a", "--out="], "--out"),
        (["--workdir=a", "b", ""], "IMAGE"),
        (["--workdir=a", "--data_dir="], None),
        (["--workdir=a", "b"], None),
    ],
)
def test_an_empty_text_is_not_the_current_folder(capsys, arguments, name):
    parser = OneLineParser(prog="p")
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("--workdir")
    one.add_argument("--file")
    parser.add_argument("--out", default="results")
    parser.add_argument("--data_dir")
    parser.add_argument("images", nargs="*", metavar="IMAGE")
    if name is None:
        parser.parse_args(arguments)
        return
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(arguments)
    assert stop.value.code == 2
    error = f"error: {name} expects a value, found an empty text (see --help)\n"
    assert capsys.readouterr().err == error


def test_a_line_of_output_is_a_line():
    assert printable("a\tb\nc\\d é") == "a\\tb\\nc\\d é"
    assert printable("\x1b[31m\r") == "\\x1b[31m\\r"
    assert printable("caf\udce9") == "caf\udce9"  # a name in another encoding, as it is


def test_memory_that_runs_out_is_one_line(capsys):
    for error in (MemoryError("of 9 GB"), RuntimeError("RESOURCE_EXHAUSTED: of 9 GB\nhere")):
        with pytest.raises(SystemExit) as stop, one_line_errors():
            raise error
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "of 9 GB): lower 'batch_size'" in line
    with pytest.raises(RuntimeError, match="another"), one_line_errors():
        raise RuntimeError("another")


def test_a_path_that_the_system_refuses_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    for path, reason in (("n" * 999, "File name too long"), ("file/x", "Not a directory")):
        with pytest.raises(SystemExit) as stop, one_line_errors():
            (tmp_path / path).open()
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: '{tmp_path}")
        assert f"cannot be used ({reason}): check this path" in line
        assert len(line) < 350
    with pytest.raises(OSError, match="unknown"), one_line_errors():
        raise OSError("unknown")
