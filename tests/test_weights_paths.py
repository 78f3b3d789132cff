"""Where `init.from` points does not depend on the current folder, and may move."""

import json

import pytest

from crnn_jax import config as cfg
from crnn_jax import workdir as workdirs
from crnn_jax.data.dataset import with_absolute_paths
from crnn_jax.errors import UserError
from crnn_jax.train.loop import train
from crnn_jax.weights import load_weights


def absolute(source):
    config = cfg.default_config("cnn")
    config.init["from"] = str(source)
    return with_absolute_paths(config).init["from"]


def test_paths_are_absolute_and_names_of_the_package_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for typed in ("runs/a", "runs/a/", "./runs//a", "~/runs/a", "runs/b/../a"):
        assert absolute(typed) == str(tmp_path / "runs" / "a")
    assert absolute("") == ""
    assert absolute("digits_crnn") == "digits_crnn"
    (tmp_path / "digits_crnn").mkdir()
    assert absolute("digits_crnn") == str(tmp_path / "digits_crnn")


def test_a_mistyped_name_of_the_package_is_still_recognised():
    with pytest.raises(UserError, match="did you mean 'digits_crnn'"):
        load_weights(absolute("digits_crn"))


def begin(folder, source):
    config = cfg.default_config("cnn")
    config.init["from"] = str(source)
    workdirs.write_config(folder, with_absolute_paths(config))


def check(folder, source):
    """Does what a resumed run does with its config."""
    config = cfg.default_config("cnn")
    config.init["from"] = str(source)
    config = with_absolute_paths(config)
    workdirs.check_same_run(folder, config, workdirs.load_config(folder))


def test_moved_weights_may_be_named_and_others_may_not(tmp_path):
    (tmp_path / "old" / "a").mkdir(parents=True)
    begin(tmp_path, tmp_path / "old" / "a")
    new = tmp_path / "new" / "a"
    with pytest.raises(UserError, match=r"init\.from is '.*/old/a' there and '.*/new/a' here"):
        check(tmp_path, new)
    (tmp_path / "old" / "a").rmdir()
    check(tmp_path, new)
    for other in (tmp_path / "new" / "b", "digits_crnn", ""):
        with pytest.raises(UserError, match=r"init\.from is"):
            check(tmp_path, other)
    begin(tmp_path, "digits_crnn")
    with pytest.raises(UserError, match=r"init\.from is 'digits_crnn' there"):
        check(tmp_path, "/elsewhere/digits_crnn")


def test_a_path_as_it_was_typed_in_an_older_version_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = cfg.default_config("cnn")
    config.init["from"] = "runs/a/"
    workdirs.write_config(tmp_path, config)
    check(tmp_path, "runs/a")


@pytest.mark.long
def test_a_run_stores_an_absolute_path_and_resumes_from_any_folder(
    tiny, finished, tmp_path, monkeypatch
):
    finished("rnn", name="source")
    configs = [tiny("rnn", init__from=path, seed=1) for path in ("source/", tmp_path / "source")]
    monkeypatch.chdir(tmp_path)
    result = train(configs[0], "run")
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["init"]["from"] == str(tmp_path / "source")
    monkeypatch.chdir("/")
    assert train(configs[1], str(tmp_path / "run"))["test"] == result["test"]
