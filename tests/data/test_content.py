"""A key that changes with the files, and a digest that stays where they are copied."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from crnn_jax.data import cache, content
from crnn_jax.data.content import Files, digest_of, key_of
from crnn_jax.data.dataset import load_dataset
from crnn_jax.data.walk import file_of


def files_in(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return Files(folder, [file_of(p.relative_to(folder).as_posix(), p.stat()) for p in paths])


def write(folder, **contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / name).write_text(text)
        os.utime(folder / name, (1, 1))
    return files_in(folder)


def test_equal_names_sizes_and_times_are_two_keys(tmp_path):
    one, two = (write(tmp_path / name, a="dark", b="lamp") for name in ("one", "two"))
    assert [file[:2] for file in one.files] == [file[:2] for file in two.files]
    assert key_of([one]) == key_of([files_in(one.root)])
    assert len({key_of([one]), key_of([two]), key_of([one, two]), key_of([two, one])}) == 4


@pytest.mark.parametrize("field", ["path", "size", "ctime_ns", "inode"])
def test_every_fact_of_a_file_is_in_the_key(tmp_path, field):
    part = write(tmp_path, a="dark", b="lamp")
    changed = part.files[1]._replace(**{field: "c" if field == "path" else 7})
    assert key_of([part._replace(files=[part.files[0], changed])]) != key_of([part])


def test_the_bytes_are_in_the_key_where_a_file_system_says_the_same_of_both(tmp_path):
    part = write(tmp_path, a="dark", b="lamp")
    before = key_of([part])
    (tmp_path / "b").write_text("lump")
    assert key_of([part]) != before


def test_a_copy_has_the_same_digest(tmp_path):
    one = write(tmp_path / "one", a="dark", b="lamp")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert digest_of(one) == digest_of(files_in(tmp_path / "two"))
    digests = {digest_of(one), digest_of(one._replace(files=one.files[::-1]))}
    digests.add(digest_of(write(tmp_path / "one", b="lump")))
    digests.add(digest_of(write(tmp_path / "one", c="")))
    assert len(digests) == 4


def test_of_large_files_the_beginning_and_the_end_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "_MANY_BYTES", 8)  # 4 a file
    digests = [
        digest_of(write(tmp_path, a=a, b="dark")) for a in ("012345", "01x345", "0x2345", "01234x")
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_of_many_files_some_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "_MANY_FILES", 2)  # the first and the third of four
    texts = {"a": "0", "b": "1", "c": "2", "d": "3"}
    before = digest_of(write(tmp_path, **texts))
    changed = [digest_of(write(tmp_path, **{**texts, name: "x"})) != before for name in texts]
    assert changed == [True, False, True, False]


def test_an_unreadable_file_has_a_digest(tmp_path):
    part = write(tmp_path, a="dark")
    (tmp_path / "a").unlink()
    assert len(digest_of(part)) == len(key_of([part])) == 16


def swapped(folder, light, dark):
    """Two classes of six 16 x 16 BMPs each, with the same names, sizes and times everywhere."""
    for name, value in (("light", light), ("dark", dark)):
        for part, count in (("train", 6), ("test", 6)):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                path = folder / part / name / f"{index}.bmp"
                Image.fromarray(np.full((16, 16, 3), value + index, np.uint8)).save(path)
                os.utime(path, (1, 1))
    return folder


def test_a_folder_is_not_trained_on_another_s_pixels(tiny, tmp_path):
    pixels = []
    for name, light, dark in (("one", 200, 20), ("two", 20, 200)):
        config = tiny("cnn", data__source=f"folder:{swapped(tmp_path / name, light, dark)}")
        config.data.cache_dir = str(tmp_path / "cache")
        dataset = load_dataset(config)
        dataset.norm()  # decodes, and keeps what it decoded
        found = cache.decoded(
            dataset.splits["train"],
            cache_dir=dataset.cache,
            fingerprint=dataset.source.fingerprint,
            skip_corrupt=False,
        )
        pixels.append(found.fields["image"][:, 0, 0, 0].tolist())
    assert dataset.source.class_names == ("dark", "light")
    assert pixels == [
        [20, 21, 22, 23, 24, 25, 200, 201, 202, 203, 204, 205],
        [200, 201, 202, 203, 204, 205, 20, 21, 22, 23, 24, 25],
    ]
