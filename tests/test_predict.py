"""Which files are images, and what is said of one; the command itself: test_end_to_end.py."""

import numpy as np
import pytest

from crnn_jax import predict
from crnn_jax.errors import CorruptImageError, UserError


def test_folders_are_searched_and_files_are_taken_as_named(tmp_path):
    for name in ("b/2.PNG", "b/1.jpg", "b/notes.txt", "b/.hidden.png", "plain"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = predict.find_images([str(tmp_path / "plain"), str(tmp_path / "b")])
    assert [path.name for path in found] == ["plain", "1.jpg", "2.PNG"]


def test_missing_paths_and_empty_folders(tmp_path):
    with pytest.raises(UserError, match="found no"):
        predict.find_images([str(tmp_path / "missing.png")])
    with pytest.raises(UserError, match="expected images below"):
        predict.find_images([str(tmp_path)])


def test_the_five_likeliest_in_order(tmp_path):
    probability_K = np.array([0.05, 0.5, 0.1, 0.2, 0.08, 0.07])
    answer = predict.describe(tmp_path, probability_K, list("abcdef"))
    assert answer["class"] == "b"
    assert answer["probability"] == 0.5
    assert [item["class"] for item in answer["top"]] == ["b", "d", "c", "e", "f"]


def test_a_corrupt_file_does_not_stop_the_others(tiny, start_run, tmp_path):
    from PIL import Image

    experiment, _, _, _, state = start_run(tiny("cnn"))
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for path in files:
        Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(path)
    files[1].write_bytes(files[1].read_bytes()[:40])
    results = [result for _, result in predict.predict_files(experiment, state, files)]
    assert isinstance(results[1], CorruptImageError)
    np.testing.assert_allclose(np.sum(results[0]), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(results[0], results[2])
