"""The command shows what is kept, and deletes what was used longest ago and nothing else."""

import os
import time

import pytest

from crnn_jax.data import statistics
from crnn_jax.data.cache import __main__ as command

DAY = 24 * 3600
KEY = "0123456789abcdef"
PROGRAM = f"jit_step-{KEY * 4}-cache"


def days_ago(path, days):
    when = time.time() - days * DAY
    os.utime(path, (when, when))


@pytest.fixture
def folder(tmp_path):
    """A cache of 8 MB: splits of 4 and 2 MB, a statistic of 1 MB, a program of 1 MB."""
    for name, megabytes, days in ((f"{KEY}-train", 4, 40), (f"{KEY}-test", 2, 10)):
        entry = tmp_path / "decoded" / name
        entry.mkdir(parents=True)
        (entry / "image.npy").write_bytes(bytes(megabytes * 1_000_000 - 2))
        (entry / "manifest.json").write_text("{}")
        days_ago(entry / "manifest.json", days)
        days_ago(entry / "image.npy", 99)  # only the manifest says when it was used
    for name, days in ((f"statistics/{KEY}-train.json", 20), (f"xla/{PROGRAM}", 3)):
        file = tmp_path / name
        file.parent.mkdir()
        file.write_bytes(bytes(1_000_000))
        days_ago(file, days)
    return tmp_path


def run(folder, capsys, *arguments):
    command.main([f"--cache_dir={folder}", *arguments])
    return capsys.readouterr().out.splitlines()


def left(folder):
    return sorted(path.name for path in folder.glob("*/*"))


def test_list_shows_the_longest_unused_first(folder, capsys):
    assert run(folder, capsys, "list") == [
        f"decoded/{KEY}-train  4.0 MB  used 40d ago",
        f"decoded/{KEY}-test  2.0 MB  used 10d ago",
        "statistics  1 entry, 1.0 MB  used 20d ago",
        "xla  1 entry, 1.0 MB  used 3d ago",
        f"4 entries, 8.0 MB in '{folder}'",
    ]


@pytest.mark.parametrize(
    ("limits", "deleted", "kept"),
    [
        (["--older_than=30d"], "1 entry, 4.0 MB", "3 entries, 4.0 MB"),
        (["--older_than=2w"], "2 entries, 5.0 MB", "2 entries, 3.0 MB"),
        (["--older_than=72h"], "4 entries, 8.0 MB", "0 entries, 0.0 MB"),
        (["--max_gb=0.0045"], "1 entry, 4.0 MB", "3 entries, 4.0 MB"),
        (["--max_gb=0.002"], "3 entries, 7.0 MB", "1 entry, 1.0 MB"),
        (["--max_gb=0"], "4 entries, 8.0 MB", "0 entries, 0.0 MB"),
        (["--max_gb=8", "--older_than=99d"], "0 entries, 0.0 MB", "4 entries, 8.0 MB"),
        (["--max_gb=0.003", "--older_than=30d"], "2 entries, 5.0 MB", "2 entries, 3.0 MB"),
    ],
)
def test_prune_deletes_by_last_use(folder, capsys, limits, deleted, kept):
    lines = run(folder, capsys, "prune", *limits)
    assert lines == [f"deleted {deleted}", f"{kept} in '{folder}'"]
    order = [f"{KEY}-train", f"{KEY}-train.json", f"{KEY}-test", PROGRAM]
    assert left(folder) == sorted(order[int(deleted[0]) :])


def test_files_of_others_and_those_being_written_stay(folder, capsys):
    own = ["decoded/mine", "decoded/.tmp-" + "0" * 32, "statistics/mine.json", "xla/.lockfile"]
    for name in own:
        (folder / name).write_bytes(b"x")
    stale = folder / "decoded" / (".tmp-" + "1" * 32)
    stale.mkdir()
    (stale / "image.npy").touch()
    days_ago(stale, 2)  # longer than any writer takes
    lines = run(folder, capsys, "prune", "--max_gb=0")
    assert lines == ["deleted 4 entries, 8.0 MB", f"0 entries, 0.0 MB in '{folder}'"]
    assert left(folder) == sorted(name.partition("/")[2] for name in own)


def test_before_the_first_training_nothing_is_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command.main(["list"])
    assert capsys.readouterr().out == f"0 entries, 0.0 MB in '{tmp_path}/crnn_jax'\n"


def test_what_another_deletes_meanwhile_is_no_error(folder):
    found = command.entries(folder)
    assert command.prune(found, time.time(), 0) == []
    assert command.prune(found, time.time(), 0) == []
    assert command.entries(folder) == []


def test_a_statistic_that_is_read_is_used_now(tmp_path):
    path = tmp_path / "a.json"
    statistics.remembered(path, lambda: {"a": 1})
    os.utime(path, (1, 1))
    assert statistics.remembered(path, lambda: {"a": 2}) == {"a": 1}
    assert path.stat().st_mtime > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune"], "prune expects one of, found neither --older_than or --max_gb"),
        (["list", "--max_gb=1"], "list expects no limits, found --older_than or --max_gb"),
        (["prune", "--older_than=30"], "--older_than expects hours, days or weeks such as 30d"),
        (["prune", "--older_than=-1d"], "found '-1d'"),
        (["prune", "--max_gb=1e999"], "--max_gb expects a number of GB"),
        (["prune", "--max_gb=nan"], "found 'nan'"),
        (["list", "--cache_dir=/nowhere/at/all"], "found no such folder"),
        (["clear"], "invalid choice: 'clear'"),
    ],
)
def test_a_mistake_is_one_line(folder, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        run(folder, capsys, *arguments)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert len(left(folder)) == 4


def test_what_cannot_be_deleted_is_one_line(folder, capsys, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(command.os, "rename", refuse)
    with pytest.raises(SystemExit):
        run(folder, capsys, "prune", "--max_gb=0")
    assert "-train' expects to be deletable, found: Permission denied" in capsys.readouterr().err
