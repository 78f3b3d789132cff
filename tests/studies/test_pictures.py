"""What has no pictures; those of a segmentation are in train/test_segmentation_runs.py."""

import pytest

from crnn_jax.studies import pictures


def test_classes_are_no_pictures(finished, tmp_path, capsys):
    with pytest.raises(SystemExit) as code:
        pictures.main([f"--workdir={finished()}", f"--results={tmp_path}", "--name=a"])
    assert code.value.code == 2
    assert "pictures, found task 'classification'" in capsys.readouterr().err
