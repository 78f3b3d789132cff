"""Checkpoints that cannot be read are not none: the run is refused, and nothing is written."""

import re

import pytest

from crnn_jax import config as cfg
from crnn_jax import workdir as workdirs
from crnn_jax.checkpoint import Checkpoints
from crnn_jax.errors import UserError
from crnn_jax.train.loop import train
from tests.test_workdir import begin


def a_file(path):
    path.write_text("")


def a_broken_link(path):
    path.symlink_to("unmounted")


def a_folder_that_is_shut(path):
    path.mkdir(0)


UNREADABLE = {
    a_file: "found a file that cannot be read (Not a directory)",
    a_broken_link: "found a link that cannot be read (No such file or directory)",
    a_folder_that_is_shut: "found a folder that cannot be read (Permission denied)",
}


@pytest.mark.parametrize("make", UNREADABLE)
def test_checkpoints_that_cannot_be_read_are_not_none(as_somebody, make):
    config, path = cfg.default_config("crnn"), as_somebody / "checkpoints"
    begin(as_somebody, config)
    path.rename(as_somebody / "kept")
    make(path)
    with pytest.raises(UserError, match=re.escape(UNREADABLE[make])):
        workdirs.open_workdir(str(as_somebody))
    with pytest.raises(UserError, match=re.escape(UNREADABLE[make])):
        Checkpoints(path, keep_latest=1, keep_best=False).restore({})
    (as_somebody / "result.json").write_text("{}")  # of a finished run nobody needs them
    assert workdirs.open_workdir(str(as_somebody))[1] is not None
    (as_somebody / "config.json").unlink()
    with pytest.raises(UserError, match="has checkpoints but no config"):
        workdirs.open_workdir(str(as_somebody))


def test_a_start_beside_checkpoints_that_cannot_be_read_writes_nothing(tiny, finished):
    folder = finished("rnn")
    (folder / "result.json").unlink()
    (folder / "checkpoints").rename(folder / "kept")
    (folder / "checkpoints").symlink_to("unmounted")
    before = {path.name: path.read_bytes() for path in folder.glob("*.json*")}
    with pytest.raises(UserError, match="expected a folder of checkpoints"):
        train(tiny("rnn", seed=1), str(folder))
    assert {path.name: path.read_bytes() for path in folder.glob("*.json*")} == before
