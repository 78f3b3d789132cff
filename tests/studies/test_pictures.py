"""The picture of a segmentation's predictions, and what has none."""

import pytest
from PIL import Image

from crnn_jax.data import digit_scenes
from crnn_jax.studies import pictures
from crnn_jax.train.loop import train


def test_a_row_for_each_example(tiny, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(digit_scenes, "NUM_TRAIN", 16)
    monkeypatch.setattr(digit_scenes, "NUM_TEST", 3)
    config = tiny(
        "reseg", task="segmentation", data__source="digit_scenes", data__image_size=18,
        optim__label_smoothing=0.0, batch_size=8, duration="2 steps", optim__warmup="1 steps",
        model__stage_multipliers="(1,)",
    )  # fmt: skip
    train(config, str(tmp_path / "run"))
    arguments = [f"--workdir={tmp_path}/run", f"--results={tmp_path}", "--name=a"]
    pictures.main([*arguments, "--count=2"])
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (3 * 270, 2 * 270)  # 18 pixels, 15 times
    with pytest.raises(SystemExit):
        pictures.main([*arguments, "--count=4"])
    assert "--count expects 1 to 3, found 4" in capsys.readouterr().err


def test_classes_are_no_pictures(tiny, tmp_path, capsys):
    train(tiny("cnn", duration="2 steps", optim__warmup="1 steps"), str(tmp_path / "run"))
    with pytest.raises(SystemExit) as code:
        pictures.main([f"--workdir={tmp_path}/run", f"--results={tmp_path}", "--name=a"])
    assert code.value.code == 2
    assert "pictures, found task 'classification'" in capsys.readouterr().err
