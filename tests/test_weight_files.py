"""Weight files: what is written is read again, and other files are refused in one line."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import save_file

from crnn_jax.errors import UserError
from crnn_jax.weight_files import (
    WeightFile,
    flat_arrays,
    nested_arrays,
    read_arrays,
    read_weights,
    write_weights,
)

VARIABLES = {
    "params": {"head": {"dense": {"kernel": np.arange(6.0).reshape(2, 3), "bias": np.ones(3)}}},
    "batch_stats": {"trunk": {"norm_0_0": {"mean": np.full(2, 0.5)}}},
}
CONTENT = WeightFile(
    arrays=flat_arrays(VARIABLES),
    model={"name": "crnn", "width": 4, "stage_multipliers": (1, 2), "norm": True},
    num_classes=3,
    class_names=("cat", "dog", "größe"),
    mean=(120.0, 110.5, 100.0),
    std=(60.0, 61.0, 62.0),
    about={"source": "a test"},
)


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "new" / "weights.safetensors"
    write_weights(path, CONTENT)
    found = read_weights(path)
    assert {n: a.dtype for n, a in found.arrays.items()} == dict.fromkeys(
        ("params/head/dense/kernel", "params/head/dense/bias", "batch_stats/trunk/norm_0_0/mean"),
        np.float32,
    )
    for name, array in CONTENT.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    empty = {"arrays": {}}
    assert dataclasses.replace(found, **empty) == dataclasses.replace(CONTENT, **empty)
    nested = nested_arrays(found.arrays)
    np.testing.assert_array_equal(nested["params"]["head"]["dense"]["bias"], np.ones(3))
    assert [p.name for p in path.parent.iterdir()] == ["weights.safetensors"]


def test_an_array_that_lies_turned_in_memory_is_written_as_it_reads(tmp_path):
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    content = dataclasses.replace(CONTENT, arrays={"params/kernel": turned}, class_names=None)
    write_weights(tmp_path / "a.safetensors", content)
    found = read_weights(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found.arrays["params/kernel"], turned)
    assert found.class_names is None


def test_another_precision_is_read_as_float32(tmp_path):
    save_file({"a": np.ones(3, np.float16)}, tmp_path / "a.safetensors")
    arrays, metadata = read_arrays(tmp_path / "a.safetensors")
    assert arrays["a"].dtype == np.float32
    assert metadata == {}


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"format": "crnn_jax 2"}, {"format": "crnn_jax 1"}]
)
def test_a_file_of_another_format_is_refused(tmp_path, metadata):
    save_file({"a": np.ones(3, np.float32)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(UserError, match=r"expected a weight file of this project.*crnn_jax 1"):
        read_weights(tmp_path / "a.safetensors")


def test_what_is_no_such_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="found none: check the path"):
        read_arrays(tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"PK\3\4 a pickle of PyTorch's")
    with pytest.raises(UserError, match="expected a safetensors file, found"):
        read_arrays(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="expected a safetensors file, found"):
        read_arrays(tmp_path)
    write_weights(tmp_path / "b.safetensors", CONTENT)
    whole = (tmp_path / "b.safetensors").read_bytes()
    (tmp_path / "b.safetensors").write_bytes(whole[:-5])
    with pytest.raises(UserError, match="expected a safetensors file, found"):
        read_weights(tmp_path / "b.safetensors")


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path):
    path = tmp_path / "a.safetensors"
    write_weights(path, CONTENT)
    whole = path.read_bytes()
    for place in range(8, len(whole)):  # the first eight are the length of the header
        damaged = bytearray(whole)
        damaged[place] ^= 2
        path.write_bytes(damaged)
        try:
            found = read_weights(path)
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017
            continue
        # Nothing is read of what is left, such as a blank of the header's padding.
        assert dataclasses.replace(found, arrays={}) == dataclasses.replace(CONTENT, arrays={})
        for name, array in CONTENT.arrays.items():
            np.testing.assert_array_equal(found.arrays[name], array)


def test_a_file_of_an_older_version_has_no_checksum(tmp_path):
    path = tmp_path / "a.safetensors"
    write_weights(path, CONTENT)
    arrays, metadata = read_arrays(path)
    del metadata["crc32"]
    save_file(arrays, path, metadata)
    assert read_weights(path).class_names == CONTENT.class_names
    for damaged in ("[" * 100_000, "{", "[]"):
        save_file(arrays, path, {**metadata, "model": damaged})
        with pytest.raises(UserError, match=r"a\.safetensors' is damaged"):
            read_weights(path)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*: choose another path"):
        write_weights(tmp_path / "file" / "a.safetensors", CONTENT)
