import os

from crnn_jax.data import walk
from crnn_jax.data.walk import AROUND, SEEN, SPECIAL, UNWANTED_NAME, LeftOut, describe, walk_files


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")


def names(root):
    files, left_out = walk_files(root, lambda name: name.endswith(".png"))
    return [file.path for file in files], left_out


def test_files_at_any_depth_in_order(tmp_path):
    touch(*(tmp_path / name for name in ("b/2.png", "b/1.png", "a/x/y/3.png", "0.png")))
    files, left_out = walk_files(str(tmp_path), lambda name: True)
    assert [file.path for file in files] == ["0.png", "a/x/y/3.png", "b/1.png", "b/2.png"]
    assert left_out == []
    assert files[0].size == 4
    assert files[0].ctime_ns == (tmp_path / "0.png").stat().st_ctime_ns


def test_hidden_folders_are_not_entered_and_folders_may_look_like_files(tmp_path):
    touch(tmp_path / ".ipynb_checkpoints/a.png", tmp_path / "photo.png/b.png")
    touch(tmp_path / ".c.png", tmp_path / "notes.txt")
    found, left_out = names(tmp_path)
    assert found == ["photo.png/b.png"]
    assert left_out == [LeftOut("notes.txt", UNWANTED_NAME, False)]


def test_a_linked_folder_is_entered_once(tmp_path):
    touch(tmp_path / "elsewhere/1.png", tmp_path / "root/own/2.png")
    for name in ("b", "a", "own/c"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/also").symlink_to("own")  # the path without a link is the one
    found, left_out = names(tmp_path / "root")
    assert found == ["a/1.png", "own/2.png"]
    assert left_out == [LeftOut(name, SEEN, False) for name in ("also", "b", "own/c")]


def test_links_to_folders_around_are_not_entered(tmp_path):
    touch(tmp_path / "root/a/1.png", tmp_path / "other.png")
    (tmp_path / "root/a/up").symlink_to("../..")
    (tmp_path / "root/a/loop").symlink_to("..")
    (tmp_path / "root/a/self").symlink_to("../a")
    found, left_out = names(tmp_path / "root")
    assert found == ["a/1.png"]
    assert [(item.path, item.reason) for item in left_out] == [
        ("a/loop", SEEN),
        ("a/self", SEEN),
        ("a/up", AROUND),
    ]


def test_broken_and_looping_links(tmp_path):
    touch(tmp_path / "1.png")
    (tmp_path / "good.png").symlink_to("1.png")
    (tmp_path / "broken.png").symlink_to("absent")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder").symlink_to("absent")
    (tmp_path / "a.txt").symlink_to("absent")
    found, left_out = names(tmp_path)
    assert found == ["1.png", "good.png"]
    assert [(item.path, item.is_unreadable) for item in left_out] == [
        ("a.txt", False),
        ("broken.png", True),
        ("folder", True),
        ("loop.png", True),
    ]
    assert left_out[1].reason == "a broken link"
    assert "symbolic links" in left_out[3].reason


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert names(tmp_path) == ([], [LeftOut("a.png", SPECIAL, False)])


def test_folders_without_permission(as_somebody):
    touch(as_somebody / "open/1.png", as_somebody / "shut/2.png", as_somebody / "blind/3.png")
    (as_somebody / "shut").chmod(0)
    (as_somebody / "blind").chmod(0o444)  # names can be read, nothing else
    found, left_out = names(as_somebody)
    assert found == ["open/1.png"]
    assert [(item.path, item.is_unreadable) for item in left_out] == [
        ("blind/3.png", True),
        ("shut", True),
    ]
    assert left_out[1].reason == "not readable: Permission denied"
    found, left_out = names(as_somebody / "shut")
    assert (found, [item.path for item in left_out]) == ([], ["."])
    for name in ("shut", "blind"):
        (as_somebody / name).chmod(0o777)


def test_the_line_counts_by_reason():
    left_out = [LeftOut(f"{i}.txt", UNWANTED_NAME, False) for i in range(3)]
    left_out.append(LeftOut("new\nline", walk.SEEN, False))
    assert describe(left_out) == (
        "3 (another kind by its name: 0.txt, 1.txt, ...); "
        "1 (a link to a folder that is read elsewhere: new line)"
    )
