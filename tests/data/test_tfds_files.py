"""Files of a TFDS data set that are missing, damaged, or not as they are described."""

import json

import pytest

from crnn_jax.errors import CorruptImageError, UserError
from tests.data.test_tfds_source import TEST, TRAIN, load
from tests.data.toy_tfds import write_toy


@pytest.fixture
def toy(tmp_path):
    return write_toy(tmp_path / "toy/1.0.0", {"train": TRAIN, "test": TEST})


def test_missing_and_damaged_files(toy):
    path = toy / "toy/1.0.0/toy-train.array_record-00001-of-00003"
    source, content = load(toy), path.read_bytes()
    path.write_bytes(content[:1000])
    for read in (lambda: source.train.read(1), lambda: source.train.read_many([0, 1])):
        with pytest.raises(UserError, match=r"toy train.*readable array_record files") as caught:
            read()
        assert not isinstance(caught.value, CorruptImageError)
    with pytest.raises(UserError, match=r"00001-of-00003: expected readable array_record files"):
        load(toy)
    path.unlink()
    with pytest.raises(UserError, match=r"expected file 'toy-train.array_record-00001-of-00003'"):
        load(toy)


@pytest.mark.parametrize("said", ["2", "5"])
def test_a_file_holds_as_many_records_as_its_description_says(toy, said):
    info = toy / "toy/1.0.0/dataset_info.json"
    content = json.loads(info.read_text())
    content["splits"][0]["shardLengths"][1] = said
    info.write_text(json.dumps(content))
    message = rf"expected {said} records in 'toy-train.array_record-00001-of-00003', .*found 1;"
    with pytest.raises(UserError, match=message):
        load(toy)


@pytest.mark.parametrize("index", [1, 128])
def test_the_records_of_every_file_are_counted(tmp_path, index):
    folder = write_toy(tmp_path / "toy/1.0.0", {"train": TRAIN[:1] * 130, "test": TEST})
    info = folder / "toy/1.0.0/dataset_info.json"
    content = json.loads(info.read_text())
    content["splits"][0]["shardLengths"][index] = "2"
    info.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"expected 2 records in .*-{index:05d}-of-00130', as"):
        load(folder)
