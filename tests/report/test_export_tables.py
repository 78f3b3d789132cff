"""The tables of exported files come from the records alone."""

import pytest

from crnn_jax.errors import UserError
from crnn_jax.report import tables


def test_the_table_of_differences_by_hand(tmp_path, append):
    record = {
        "examples": 1000,
        "examples_alone": 50,
        "packages": {"onnx": "1.0", "onnxruntime": "1.2"},
        "versions": {"jax": "0.9"},
    }
    for model, small, large, mean in (
        ("cnn", 9e-3, 9e-3, 0.1),  # an older record of the same model
        ("cnn", 1.5e-6, 4e-6, 0.5),
        ("rnn", 2e-7, 3e-7, 0.75),
    ):
        found = {"onnx": {"1": small, "64": large}, "stablehlo": {"1": 0.0, "64": small / 2}}
        likeliest = {"mean": mean, "least": 0.1}
        each = {"model": model, "largest_difference": found, "likeliest_class": likeliest}
        append(tmp_path, "export_equality", **each, **record)
    lines = tables.TABLES["export_equality"](tmp_path).splitlines()
    assert lines[0] == (
        "| model | ONNX, batch 1 | ONNX, batch 64 | StableHLO, batch 1 | StableHLO, batch 64 |"
    )
    assert lines[2:4] == [
        "| cnn | 1.5e-06 | 4.0e-06 | 0.0e+00 | 7.5e-07 |",
        "| rnn | 2.0e-07 | 3.0e-07 | 0.0e+00 | 1.0e-07 |",
    ]
    assert "over 1,000 test images of CIFAR-10 at batch 64 and the first 50 one by one" in lines[5]
    assert "0.50 to 0.75 on average. onnxruntime 1.2, jax 0.9, 2 cores, commit" in lines[5]


def test_without_records_the_table_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match=r"found none: run benchmarks/export_equality\.py"):
        tables.TABLES["export_equality"](tmp_path)


def test_the_table_of_latencies_by_hand(tmp_path, append):
    ratios = {"torch_eager_1/ours_1": [0.5, 0.75, 1.0]}
    one = {"ours_1": [1e-3, 2e-3, 4e-3], "torch_eager_1": [1e-3, 1.5e-3, 2e-3], "ratios": ratios}
    many = {
        "ours_64": [0.032, 0.064, 0.064],
        "torch_eager_64": [0.016, 0.032, 0.064],
        "ratios": {"torch_eager_64/ours_64": [0.5, 0.5, 1.25]},
    }
    facts = {"config": "a.py:crnn", "repeats": 3, "torch": "2.0", "versions": {"jax": "0.9"}}
    append(tmp_path, "serving", batch_1=one, batch_64=many, **facts)
    lines = tables.TABLES["serving"](tmp_path).splitlines()
    assert lines[2:4] == [
        "| `run.predict` | 2.00 (1.00 to 4.00) | 0.75 (0.50 to 1.00) | 1,000 (1,000 to 2,000) "
        "| 0.50 (0.50 to 1.25) |",
        "| PyTorch | 1.50 (1.00 to 2.00) | - | 2,000 (1,000 to 4,000) | - |",
    ]
    assert lines[5].startswith("Median (min to max) of 3 rounds, a.py:crnn. PyTorch 2.0, 2 cores, ")
