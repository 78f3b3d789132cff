"""The tables of the input of large images come from the files alone."""

import json

import pytest

from crnn_jax.errors import UserError
from crnn_jax.report import tables


def test_tables_of_the_input_by_hand(tmp_path, append):
    record = {"images": 256, "repeats": 5, "whole": [1, 2, 3], "crop": [1, 1.5, 2], "ratio": 1.8}
    append(tmp_path, "decoders", decoder="a", **record)
    append(tmp_path, "decoders", decoder="a", **{**record, "ratio": 2.0})
    lines = tables.TABLES["decoders"](tmp_path).splitlines()
    assert lines[2] == "| a | 2.00 (1.00 to 3.00) | 1.50 (1.00 to 2.00) | 2.00 |"
    assert lines[4] == "One core, 256 images, n=5. 2 cores, commit 0123456, 2026-01-02."
    append(
        tmp_path, "input_imagenet", one_core={"ours": [1.0, 2.0, 3.0]}, repeats=3,
        workers={"ours": {"1": [1, 500, 9], "2": [1, 900, 9]}}, torch_version="2.0",
        cpu_of_two_workers={"workers": 1.5, "process": 0.5}, cores=2,
        ratios={"to_torch": [1.7, 1.8, 2.0], "to_tfds_and_grain": [2.4, 2.5, 2.6],
                "to_decoder": [0.9, 0.95, 1.0], "two_workers_to_one": [1.7, 1.9, 2.0]},
    )  # fmt: skip
    text = tables.TABLES["input_imagenet"](tmp_path)
    assert "| ours | 2.000 (1.000 to 3.000) | 500 |" in text
    assert "| ours | 500 | 900 |" in text
    assert "1.80 (1.70 to 2.00) times the DataLoader's rate, 2.50 (2.40 to 2.60) times" in text
    assert "0.95 (0.90 to 1.00) of what its decoder" in text
    append(tmp_path, "stream_memory", mebibytes=[[0, 100.0, 0.0], [20000, 101.0, 5.0]], change=0.01)
    text = tables.TABLES["stream_memory"](tmp_path)
    assert "| 20,000 | 101 | 5 |" in text
    assert "+1.0%" in text
    evaluated = {"num_correct": 150, "num_examples": 192, "loss": 0.5}
    append(
        tmp_path, "overfit_imagenet", epochs=60, train_loss=[7.0, 0.012], evaluated=evaluated,
        seconds=70.4,
    )  # fmt: skip
    text = tables.TABLES["overfit_imagenet"](tmp_path)
    assert "| 60 | 7.00, 0.0120 | 150/192, loss 0.50 | 70 s |" in text
    sizes = {"model": "crnn", "image_size": 224, "parameters": 1234, "flops_per_image": 8.2e9}
    (tmp_path / "sizes_imagenet.json").write_text(
        json.dumps({"models": [sizes], "command": "c", "git_commit": "0123456789"})
    )
    assert "| crnn | 224 | 1,234 | 8.20 |" in tables.TABLES["sizes_imagenet"](tmp_path)


INPUT_TABLES = "decoders input_imagenet stream_memory sizes_imagenet overfit_imagenet".split()


@pytest.mark.parametrize("name", INPUT_TABLES)
def test_tables_of_the_input_without_results_say_what_to_run(tmp_path, name):
    with pytest.raises(UserError, match=r"found none: run "):
        tables.TABLES[name](tmp_path)
