"""A checkpoint that replaces another costs it only when it is complete itself."""

from typing import Any

import pytest

from crnn_jax.checkpoint import Checkpoints, __main__, folders
from tests.test_checkpoint import abstract, assert_same, make_state, reader, save_all

SCORE = {"validation/accuracy": 0.5}


class Killed(BaseException):
    pass


def other_state() -> Any:
    other: Any = make_state(6)
    return other.replace(step=make_state(5).step)


def newest(directory):
    restored = reader(directory).restore(abstract(make_state(5)))
    assert restored is not None
    return restored


def test_a_kill_in_a_save_that_replaces_the_only_checkpoint_leaves_it(tmp_path, monkeypatch):
    from orbax.checkpoint import v1 as ocp

    save_all(tmp_path, [5])

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ocp, "save_async", killed)
        with pytest.raises(Killed):
            Checkpoints(tmp_path, keep_latest=1, keep_best=False).save(5, other_state(), force=True)
    step, state = newest(tmp_path)
    assert step == 5
    assert_same(state, make_state(5))


@pytest.mark.parametrize("is_old_there", [True, False])
def test_a_kill_between_the_renames_leaves_one_of_the_two(tmp_path, is_old_there, capsys):
    checkpoints = tmp_path / "checkpoints"
    save_all(checkpoints, [5])
    save_all(tmp_path / "other", [4])
    with reader(tmp_path / "other") as other:
        other.save(5, other_state(), SCORE)
    (tmp_path / "other" / "5").rename(checkpoints / "5.new")
    if not is_old_there:
        (checkpoints / "5").rename(checkpoints / "5.deleted")
    found = reader(checkpoints)
    assert found.steps() == [5]
    assert found.score(5) == (None if is_old_there else 0.5)
    assert_same(newest(checkpoints)[1], make_state(5) if is_old_there else other_state())
    __main__.main([f"--workdir={tmp_path}", "list"])
    assert ("accuracy 0.5000" in capsys.readouterr().out) != is_old_there
    save_all(checkpoints, [6])
    assert sorted(path.name for path in checkpoints.iterdir()) == ["5", "6"]
    assert_same(reader(checkpoints).restore_step(5, abstract(make_state(5))), other_state())
    assert reader(checkpoints).score(5) == 0.5


def test_prune_ends_what_a_kill_has_begun(tmp_path):
    directory = tmp_path / "checkpoints"
    save_all(directory, [5])
    (directory / "5").rename(directory / "5.new")
    (directory / "5.deleted").mkdir()
    __main__.main([f"--workdir={tmp_path}", "prune"])
    assert [path.name for path in directory.iterdir()] == ["5"]


def test_a_failed_save_that_replaces_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch):
    from orbax.checkpoint import v1 as ocp

    class Failed:
        def result(self) -> None:
            raise OSError(28, "No space left on device")

    def begun(path: str, *_: Any, **__: Any) -> Failed:
        (tmp_path / f"5{folders.NEW}{folders.TEMPORARY}").mkdir()
        return Failed()

    save_all(tmp_path, [5])
    monkeypatch.setattr(ocp, "save_async", begun)
    checkpoints = reader(tmp_path)
    checkpoints.save(5, other_state(), force=True)
    with pytest.raises(Exception, match="the disk is full"):
        checkpoints.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["5"]
    assert_same(newest(tmp_path)[1], make_state(5))


@pytest.mark.parametrize("kind", ["other_spelling", "other_digits", "file", "broken_link"])
def test_what_is_no_checkpoint_is_not_counted(tmp_path, kind):
    save_all(tmp_path, [5, 6])
    name = {"other_spelling": "0099", "other_digits": "٩٩"}.get(kind, "99")
    if kind == "file":
        (tmp_path / name).touch()
    elif kind == "broken_link":
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
    else:
        (tmp_path / name).mkdir()
    assert reader(tmp_path).steps() == [5, 6]
    save_all(tmp_path, [7], keep_latest=2)
    assert folders.steps_in(tmp_path) == {6, 7}
