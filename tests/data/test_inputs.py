"""Which files are inputs, and that a file is read as an evaluation reads it."""

import io

import numpy as np
import pytest
from PIL import Image

from crnn_jax.data import inputs, jpeg
from crnn_jax.data.crops import Crop
from crnn_jax.errors import CorruptImageError, UserError


def test_folders_are_searched_and_files_are_taken_as_named(tmp_path):
    for name in ("b/2.PNG", "b/1.jpg", "b/notes.txt", "b/.hidden.png", "plain"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = inputs.find_inputs([str(tmp_path / "plain"), str(tmp_path / "b")], (8, 8, 3))
    assert [path.name for path in found] == ["plain", "1.jpg", "2.PNG"]


def test_missing_paths_and_empty_folders(tmp_path):
    with pytest.raises(UserError, match="found no"):
        inputs.find_inputs([str(tmp_path / "missing.png")], (8, 8, 3))
    with pytest.raises(UserError, match="expected images, which this run reads, below"):
        inputs.find_inputs([str(tmp_path)], (8, 8, 3))


def test_a_folder_without_inputs_says_what_was_left_out(as_somebody):
    (as_somebody / "notes.txt").write_text("")
    shut = as_somebody / "shut"
    shut.mkdir(0)
    for folder, reason in (
        (shut, r"1 \(not readable: Permission denied: \.\)"),
        (as_somebody, r"1 \(another kind by its name: notes.txt\); 1 \(not readable: .*: shut\)"),
    ):
        with pytest.raises(UserError, match=f"found none; left out {reason}"):
            inputs.find_inputs([str(folder)], (8, 8, 3))


def test_a_run_with_crops_reads_the_centre(tmp_path):
    image_HWC = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(file.getvalue())
    crop = Crop("random_resized", 8, 9, 0.08, seed=4)
    found = inputs.read_input(path, (8, 8, 3), crop)
    centre = lambda height, width: crop.evaluation().box(0, 0, height, width)  # noqa: E731
    expected = jpeg.decode_box(file.getvalue(), centre, (8, 8, 3), "a")
    np.testing.assert_array_equal(found, expected)
    whole = inputs.read_input(path, (8, 8, 3), None)
    assert not np.array_equal(found, whole)
    with pytest.raises(CorruptImageError, match="missing"):
        inputs.read_input(tmp_path / "missing", (8, 8, 3), crop)
