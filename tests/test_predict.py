"""What is said of files; the command itself: test_end_to_end.py."""

from typing import Any

import numpy as np
from PIL import Image

from crnn_jax import predict
from crnn_jax.errors import CorruptImageError
from crnn_jax.run import Run


def test_a_corrupt_file_does_not_stop_the_others(tiny, start_run, tmp_path):
    experiment, dataset, _, _, state = start_run(tiny("cnn"))
    run = Run(tmp_path, experiment, state, dataset.source.class_names, dataset.describe())
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for path in files:
        Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(path)
    files[1].write_bytes(files[1].read_bytes()[:40])
    results: Any = [result for _, result in predict.predict_files(run, files)]
    assert isinstance(results[1], CorruptImageError)
    assert results[0].facts == results[2].facts
    assert len(results[0].facts["top"]) == 5


def test_pictures_get_names_of_their_own(tmp_path):
    picture_HWC = np.zeros((2, 3, 3), np.uint8)
    names = [
        predict._write_picture(tmp_path / "out", tmp_path / "a.jpg", picture_HWC) for _ in "ab"
    ]
    assert names == [str(tmp_path / "out/a.png"), str(tmp_path / "out/a_2.png")]
    assert Image.open(names[1]).size == (3, 2)
