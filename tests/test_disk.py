import errno
import os
import pathlib

from crnn_jax.disk import cannot_write, explain_save_error, first_line
from crnn_jax.errors import UserError


def test_the_first_line_of_an_error():
    assert first_line(ValueError("\none\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
    assert len(first_line(ValueError("x" * 999))) == 200


def test_the_reason_of_an_unwritable_path():
    error = cannot_write("a/b", PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    assert str(error).startswith("'a/b' cannot be written (Permission denied): ")


def test_what_a_library_makes_of_an_os_error_is_recognised(tmp_path):
    wrapped = ValueError("RESOURCE_EXHAUSTED: Failed writing: No space left on device")
    assert "the disk is full: checkpoint 3" in str(
        explain_save_error(wrapped, tmp_path, "checkpoint 3", 10**15)
    )
    cause = RuntimeError("save failed")
    cause.__cause__ = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    assert "the disk is full" in str(explain_save_error(cause, tmp_path, "checkpoint 3", 1))
    denied = ValueError("Failed to open [os_error_code='13']")
    assert isinstance(explain_save_error(denied, tmp_path, "checkpoint 3", 1), UserError)


def test_other_errors_stay_as_they_are():
    error = ValueError("no space in this name")
    assert explain_save_error(error, pathlib.Path("x"), "checkpoint 3", 1) is error
