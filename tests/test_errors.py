"""One line and exit code 2, whatever the mistake."""

import pytest

from crnn_jax.errors import OneLineParser, UserError, closest, one_line_errors


def test_closest():
    assert closest("lerning_rate", ["learning_rate", "seed"]) == " (did you mean 'learning_rate'?)"
    assert closest("xyz", ["learning_rate", "seed"]) == ""


def test_a_mistake_is_one_line_and_code_2(capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise UserError("expected a\nfound b")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: expected a found b\n"


def test_an_interrupt_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise KeyboardInterrupt
    assert stop.value.code == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        raise ZeroDivisionError


@pytest.mark.parametrize("arguments", [[], ["--work=1"], ["--workdir=a", "extra"]])
def test_wrong_arguments_are_one_line(capsys, arguments):
    parser = OneLineParser(prog="p")
    parser.add_argument("--workdir", required=True)
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(arguments)
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
