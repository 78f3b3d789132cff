"""Runs on a user's own folder of images: sizes that differ, an image that is broken."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from crnn_jax.errors import CorruptImageError
from crnn_jax.train.loop import train

pytestmark = pytest.mark.long


@pytest.fixture
def folder(tmp_path):
    """Two classes, dark and bright, of 20 images of several sizes and modes; one is truncated."""
    random = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 6)):
        for label, brightness in (("bright", 200), ("dark", 40)):
            for index in range(count):
                size = (12 + index % 5, 14, 3)
                image = random.integers(brightness - 30, brightness + 30, size, np.uint8)
                path = tmp_path / "images" / part / label / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).convert(("RGB", "L", "RGBA")[index % 3]).save(path)
    broken = tmp_path / "images" / "train" / "dark" / "7.png"
    broken.write_bytes(broken.read_bytes()[:60])
    return tmp_path / "images"


def make_config(tiny, folder, **changes):
    common = {"data__source": f"folder:{folder}", "data__image_size": 12, "batch_size": 8}
    return tiny("cnn", duration="40 steps", optim__learning_rate=0.01, **{**common, **changes})


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_a_broken_image_is_named(tiny, folder, tmp_path, pipeline):
    config = make_config(tiny, folder, data__pipeline=pipeline)
    with pytest.raises(CorruptImageError, match=r"dark/7\.png.*skip_corrupt"):
        train(config, str(tmp_path / "run"))


@pytest.mark.parametrize("part", ["test", "val"])
def test_a_broken_image_of_an_evaluation_is_named_before_the_training(tiny, folder, tmp_path, part):
    shutil.copytree(folder / "test", folder / "val")
    whole = (folder / "train" / "dark" / "6.png").read_bytes()
    (folder / "train" / "dark" / "7.png").write_bytes(whole)
    broken = folder / part / "bright" / "2.png"
    broken.write_bytes(whole[:60])
    with pytest.raises(CorruptImageError, match=rf"{part}/bright/2\.png.*skip_corrupt"):
        train(make_config(tiny, folder), str(tmp_path / "run"))
    # Nothing was trained, and the workdir belongs to nobody.
    assert [path.name for path in (tmp_path / "run").iterdir()] == []
    broken.write_bytes(whole)
    assert train(make_config(tiny, folder), str(tmp_path / "run"))["steps"] == 40


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_a_broken_image_is_skipped_and_counted_if_the_config_says_so(
    tiny, folder, tmp_path, capsys, pipeline
):
    config = make_config(tiny, folder, data__pipeline=pipeline, data__skip_corrupt=True)
    result = train(config, str(tmp_path / "run"))
    assert result["test"] == {**result["test"], "num_examples": 12, "accuracy": 1.0}
    assert "skipped 1 unreadable of 40 images" in capsys.readouterr().err
    facts = json.loads((tmp_path / "run" / "dataset.json").read_text())
    assert facts["class_names"] == ["bright", "dark"]
    assert facts["input_shape"] == [12, 12, 3]


def test_rare_classes_count_as_much_if_the_config_says_so(tiny, folder, tmp_path):
    """The first batch's loss is another with 12 dark images and 20 bright ones."""
    for path in sorted((folder / "train" / "dark").iterdir())[:8]:
        path.unlink()
    losses = []
    for weights in ("none", "balanced"):
        changes = {"optim__class_weights": weights, "data__skip_corrupt": True}
        config = make_config(tiny, folder, log__every="1 steps", **changes)
        config.duration = "1 steps"
        train(config, str(tmp_path / weights))
        first = (tmp_path / weights / "metrics.jsonl").read_text().splitlines()[0]
        losses.append(json.loads(first)["train/loss"])
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
