import errno
import json
import os
import pathlib
import shutil
import threading

import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.data import cache
from crnn_jax.data.splits import subset
from crnn_jax.errors import CorruptImageError, UserError


def decoded(split, folder, skip_corrupt=False):
    return cache.decoded(split, cache_dir=folder, fingerprint="f1", skip_corrupt=skip_corrupt)


def check(examples, split):
    np.testing.assert_array_equal(examples.fields["image"], split.read.image_NHWC)
    np.testing.assert_array_equal(examples.fields["label"], np.arange(split.num_examples) % 10)
    assert examples.fields["label"].dtype == np.int32
    assert examples.weight_N.dtype == np.float32
    assert examples.weight_N.all()


def test_second_time_reads_nothing(memory_split, tmp_path):
    split = memory_split(700)
    check(decoded(split, tmp_path), split)
    assert split.read.count >= 700
    split.read.count = 0
    check(decoded(split, tmp_path), split)
    assert split.read.count == 0


def truncate(path: pathlib.Path):
    path.write_bytes(path.read_bytes()[:-7])


def flip_bit(path: pathlib.Path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def old_format(path: pathlib.Path):
    manifest = path.parent / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 0}))


def flip_bit_of_header(path: pathlib.Path):
    data = bytearray(path.read_bytes())
    data[8] ^= 0x40  # of the header's length, so that its end is missing
    path.write_bytes(data)


def take_another_s(path: pathlib.Path):
    other = path.parent.with_name("f2-train")
    other.mkdir()
    for file in path.parent.iterdir():
        file.rename(other / file.name)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "entry": other.name}))
    path.parent.rmdir()
    other.rename(path.parent)


@pytest.mark.parametrize(
    "damage",
    [truncate, flip_bit, flip_bit_of_header, old_format, take_another_s, pathlib.Path.unlink],
)
def test_a_damaged_cache_is_decoded_again(memory_split, tmp_path, capsys, damage):
    split = memory_split(20)
    decoded(split, tmp_path)
    damage(tmp_path / "decoded" / "f1-train" / "image.npy")
    check(decoded(split, tmp_path), split)
    assert "decoding again" in capsys.readouterr().err
    split.read.count = 0
    check(decoded(split, tmp_path), split)  # and it is good again
    assert split.read.count == 0
    assert [path.name for path in (tmp_path / "decoded").iterdir()] == ["f1-train"]


def test_an_entry_that_is_read_is_used_now(memory_split, tmp_path):
    split = memory_split(3)
    decoded(split, tmp_path)
    manifest = tmp_path / "decoded" / "f1-train" / "manifest.json"
    os.utime(manifest, (1, 1))
    decoded(split, tmp_path)
    assert manifest.stat().st_mtime > 1


def test_an_entry_that_is_pruned_while_it_is_read_is_decoded_again(
    memory_split, tmp_path, monkeypatch, capsys
):
    split = memory_split(3)
    decoded(split, tmp_path)

    def prune_first(*_, **__):
        shutil.rmtree(tmp_path / "decoded" / "f1-train")
        monkeypatch.undo()
        raise FileNotFoundError("image.npy")

    monkeypatch.setattr(cache.np, "load", prune_first)
    check(decoded(split, tmp_path), split)
    assert capsys.readouterr().err == ""  # it is not damaged


def test_an_entry_that_is_pruned_while_it_is_written_is_written(
    memory_split, tmp_path, monkeypatch
):
    split, rename = memory_split(3), os.rename
    folder = tmp_path / "decoded" / "f1-train"

    def another_is_there_for_a_moment(*paths):
        monkeypatch.undo()
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr(cache.os, "rename", another_is_there_for_a_moment)
    check(decoded(split, tmp_path), split)
    assert os.rename is rename
    assert sorted(path.name for path in folder.iterdir())[:2] == ["image.npy", "label.npy"]


def test_another_number_of_examples_is_another_cache(memory_split, tmp_path):
    decoded(memory_split(20), tmp_path)
    assert len(decoded(memory_split(30), tmp_path).weight_N) == 30


def test_an_unreadable_image_ends_it_or_keeps_its_place(memory_split, tmp_path, capsys):
    split = memory_split(300, corrupt=[0, 270])
    with pytest.raises(CorruptImageError, match=r"image 0 .*data.skip_corrupt"):
        decoded(split, tmp_path)
    examples = decoded(split, tmp_path, skip_corrupt=True)
    assert examples.num_corrupt == 2
    assert np.flatnonzero(examples.weight_N == 0).tolist() == [0, 270]
    assert not examples.fields["image"][270].any()
    assert examples.fields["label"][270] == 0
    np.testing.assert_array_equal(examples.fields["image"][271], split.read.image_NHWC[271])
    assert "skipped 2 unreadable of 300" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "decoded" / "f1-train" / "manifest.json").read_text())
    assert manifest["num_corrupt"] == 2
    # What was skipped once is not skipped silently for ever, and a repaired image is found.
    with pytest.raises(CorruptImageError, match=r"image 0 .*data.skip_corrupt"):
        decoded(split, tmp_path)
    split.read.corrupt = frozenset()
    check(decoded(split, tmp_path), split)
    check(decoded(split, tmp_path, skip_corrupt=True), split)


def test_no_readable_image(memory_split, tmp_path):
    with pytest.raises(UserError, match="found 3 unreadable"):
        decoded(memory_split(3, corrupt=range(3)), tmp_path, skip_corrupt=True)


def test_images_of_different_shapes(memory_split, tmp_path):
    split = memory_split(3)
    images = list(split.read.image_NHWC)
    images[2] = images[2][:4]
    split.read.image_NHWC = images
    with pytest.raises(UserError, match=r"example 2 .*\(6, 5, 3\), found \(4, 5, 3\).*image_size"):
        decoded(split, tmp_path)


def test_concurrent_writers_leave_one_whole_cache(memory_split, tmp_path):
    split = memory_split(200)
    barrier, results = threading.Barrier(4), []

    def write():
        barrier.wait()
        results.append(decoded(split, tmp_path))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for examples in results:
        check(examples, split)
    assert [path.name for path in (tmp_path / "decoded").iterdir()] == ["f1-train"]
    split.read.count = 0
    check(decoded(split, tmp_path), split)
    assert split.read.count == 0


def test_cache_dir_is_the_key_or_xdg_or_home(tmp_path, monkeypatch):
    data_config = default_config("crnn").data
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir(data_config) == tmp_path / "xdg" / "crnn_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_dir(data_config) == tmp_path / ".cache" / "crnn_jax"
    data_config.cache_dir = str(tmp_path / "a" / "b")
    assert cache.cache_dir(data_config) == tmp_path / "a" / "b"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file' expects to be writable.*'data.cache_dir'"):
        cache.make_writable(tmp_path / "file")


def test_a_cache_that_cannot_be_written_is_the_users_mistake(memory_split, tmp_path):
    (tmp_path / "decoded").touch()
    with pytest.raises(UserError, match=r"'data.cache_dir'"):
        decoded(memory_split(3), tmp_path)


def test_a_whole_cache_that_cannot_be_written_is_read(memory_split, tmp_path, monkeypatch):
    split = memory_split(20)
    decoded(split, tmp_path)

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    for name in ("mkdir", "touch", "unlink"):
        monkeypatch.setattr(pathlib.Path, name, refuse)
    check(decoded(split, tmp_path), split)
    other = memory_split(20, name="test")
    with pytest.raises(UserError, match=r"Read-only file system; set 'data.cache_dir'"):
        decoded(other, tmp_path)
    assert other.read.count == 0  # before anything is decoded


def test_a_subset_is_taken_from_its_parents_cache(memory_split, tmp_path):
    split = memory_split(20)
    index_N = np.array([7, 0, 12])
    part = decoded(subset(split, index_N), tmp_path)
    reads = split.read.count
    other = decoded(subset(split, index_N[:2], "validation"), tmp_path)
    assert split.read.count == reads  # the second subset decoded nothing
    np.testing.assert_array_equal(part.fields["image"], split.read.image_NHWC[index_N])
    np.testing.assert_array_equal(part.fields["label"], [7, 0, 2])
    np.testing.assert_array_equal(other.fields["label"], [7, 0])
