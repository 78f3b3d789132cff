import json
import pathlib

import numpy as np
import pytest

from crnn_jax.data import statistics
from crnn_jax.errors import CorruptImageError, UserError


def mean_and_std(split, folder, skip_corrupt=False):
    return statistics.mean_and_std(
        split, cache_dir=folder, fingerprint="f1", skip_corrupt=skip_corrupt
    )


def test_by_hand(memory_split, tmp_path):
    split = memory_split(2, shape=(1, 2, 2))
    # Channel 0 holds 0, 10, 20, 30: mean 15, population variance 125. Channel 1 is constant.
    split.read.image_NHWC = np.array([0, 7, 10, 7, 20, 7, 30, 7], np.uint8).reshape(2, 1, 2, 2)
    mean_C, std_C = mean_and_std(split, tmp_path)
    np.testing.assert_allclose(mean_C, [15, 7])
    np.testing.assert_allclose(std_C, [np.sqrt(125), 1])
    assert mean_C.dtype == std_C.dtype == np.float32


def test_equals_numpy_and_is_stored(memory_split, tmp_path):
    split = memory_split(1500)
    first = mean_and_std(split, tmp_path)
    image_NHWC = split.read.image_NHWC.astype(np.float64)
    np.testing.assert_allclose(first[0], image_NHWC.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(first[1], image_NHWC.std((0, 1, 2)), rtol=1e-6)
    split.read.count = 0
    np.testing.assert_array_equal(mean_and_std(split, tmp_path), first)
    assert split.read.count == 0


def another_number(text):
    position = text.index(".") + 2
    return text[:position] + str((int(text[position]) + 1) % 10) + text[position + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda _: "{",
        lambda _: "[" * 100_000,
        lambda _: "[]",
        another_number,
        lambda text: json.dumps(json.loads(text)["stored"]),  # as older versions wrote it
    ],
)
def test_damaged_statistics_are_computed_again(memory_split, tmp_path, capsys, damage):
    split = memory_split(30)
    first = mean_and_std(split, tmp_path)
    assert capsys.readouterr().err == ""
    path = tmp_path / "statistics" / "f1-train.json"
    path.write_text(damage(path.read_text()))
    np.testing.assert_array_equal(mean_and_std(split, tmp_path), first)
    assert capsys.readouterr().err == f"'{path}' is damaged or old: computing it again\n"
    np.testing.assert_array_equal(mean_and_std(split, tmp_path), first)
    assert capsys.readouterr().err == ""


def test_another_s_statistics_are_not_taken(memory_split, tmp_path):
    split, other = memory_split(30), memory_split(20, name="other")
    first = mean_and_std(split, tmp_path)
    mean_and_std(other, tmp_path)
    folder = tmp_path / "statistics"
    (folder / "f1-other.json").replace(folder / "f1-train.json")
    np.testing.assert_array_equal(mean_and_std(split, tmp_path), first)


def test_unreadable_images_are_left_out(memory_split, tmp_path):
    split = memory_split(40, corrupt=[5, 6])
    with pytest.raises(CorruptImageError, match="image 5"):
        mean_and_std(split, tmp_path)
    mean_C, _ = mean_and_std(split, tmp_path, skip_corrupt=True)
    kept = np.delete(split.read.image_NHWC, [5, 6], axis=0)
    np.testing.assert_allclose(mean_C, kept.mean((0, 1, 2)), rtol=1e-6)


def test_the_same_without_a_decoded_copy(memory_split, tmp_path, monkeypatch):
    split = memory_split(1500, corrupt=[3])
    first = mean_and_std(split, tmp_path / "a", skip_corrupt=True)
    monkeypatch.setattr(statistics, "_DECODED_BYTES", 0)
    np.testing.assert_array_equal(mean_and_std(split, tmp_path / "b", skip_corrupt=True), first)
    assert not (tmp_path / "b" / "decoded").exists()


def test_many_examples_are_sampled_always_alike(memory_split, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "_EXACT_EXAMPLES", 500)
    monkeypatch.setattr(statistics, "_SAMPLE", 100)
    split = memory_split(2000)
    first = mean_and_std(split, tmp_path / "a")
    assert split.read.count < 110
    np.testing.assert_array_equal(mean_and_std(split, tmp_path / "b"), first)
    image_NHWC = split.read.image_NHWC
    np.testing.assert_allclose(first[0], image_NHWC.mean((0, 1, 2)), atol=6)
    assert not np.array_equal(first[0], image_NHWC.mean((0, 1, 2), dtype=np.float64).astype("f4"))


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(path, text):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_text", full)
    with pytest.raises(UserError, match=r"No space left on device; set 'data\.cache_dir'"):
        statistics.remembered(tmp_path / "a.json", lambda: {"a": 1})
    assert list(tmp_path.iterdir()) == []
