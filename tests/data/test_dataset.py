"""The parts of a run's data: disjoint, complete, and with statistics of the training part alone."""

import numpy as np
import pytest
from PIL import Image

from crnn_jax.data.dataset import load_dataset
from crnn_jax.errors import UserError
from crnn_jax.mesh import make_mesh


def images(split):
    return {split.read(index)["image"].tobytes() for index in range(len(split))}


def test_parts_of_the_digits(tiny):
    dataset = load_dataset(tiny("cnn", data__validation=0.2))
    sizes = {name: len(split) for name, split in dataset.splits.items()}
    assert sizes == {"train": 1150, "validation": 287, "test": 360}
    assert dataset.num_train == 1150
    parts = [images(dataset.splits[name]) for name in ("train", "validation", "test")]
    whole = load_dataset(tiny("cnn"))
    assert parts[0] | parts[1] == images(whole.splits["train"])
    assert parts[2] == images(whole.splits["test"])  # what is held out of training changes no test
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]


def test_the_seed_chooses_the_parts(tiny):
    parts = [load_dataset(tiny("cnn", data__validation=0.2, seed=s)).splits for s in (0, 0, 1)]
    for name in ("validation", "test"):
        assert images(parts[0][name]) == images(parts[1][name])
        assert images(parts[0][name]) != images(parts[2][name])


def test_statistics_are_of_the_training_part_alone(tiny):
    dataset = load_dataset(tiny("cnn", data__validation=0.2))
    train = dataset.splits["train"]
    pixels = np.stack([train.read(index)["image"] for index in range(len(train))]).astype(
        np.float64
    )
    norm = dataset.norm()
    np.testing.assert_allclose(norm["mean_C"], [pixels.mean()], rtol=1e-6)
    np.testing.assert_allclose(norm["std_C"], [pixels.std()], rtol=1e-6)
    assert dataset.norm()["mean_C"] != load_dataset(tiny("cnn")).norm()["mean_C"]


def test_a_whitening_kernel_for_a_model_that_whitens(tiny):
    norms = [load_dataset(tiny(model, data__validation=0.2)).norm() for model in ("cnn", "rnn")]
    assert [set(norm) for norm in norms] == [{"mean_C", "std_C"}] * 2
    whitening = load_dataset(tiny("cnn", model__whiten_size=2)).norm()["whitening_HWIO"]
    other = load_dataset(tiny("cnn", model__whiten_size=2, data__validation=0.2)).norm()
    assert whitening.shape == (2, 2, 1, 8)
    assert not np.array_equal(whitening, other["whitening_HWIO"])  # of the training part alone


@pytest.mark.parametrize(
    ("split", "hint"), [("validation", r"data\.validation"), ("tset", "train")]
)
def test_no_such_split(tiny, split, hint):
    with pytest.raises(UserError, match=hint):
        load_dataset(tiny("cnn")).pipeline(split, 8, make_mesh())


def test_a_validation_part_of_the_data_itself(tiny, tmp_path, capsys):
    for part, count in (("train", 10), ("test", 3), ("Val", 4)):
        for index in range(count):
            path = tmp_path / part / "a" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 10 * count + index, np.uint8)).save(path)
    config = tiny("cnn", data__source=f"folder:{tmp_path}")
    dataset = load_dataset(config)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 10, "test": 3, "validation": 4,
    }  # fmt: skip
    assert dataset.splits["validation"].read(1)["image"][0, 0, 0] == 41
    assert capsys.readouterr().err == ""
    config.data.validation = 0.2
    held = load_dataset(config)
    assert {name: len(split) for name, split in held.splits.items()} == {
        "train": 8, "test": 3, "validation": 2,
    }  # fmt: skip
    assert "left out Val (the validation part is held out of train" in capsys.readouterr().err
