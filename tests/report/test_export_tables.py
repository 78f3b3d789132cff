"""The tables of exported files come from the records alone."""

import json

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


def test_the_table_of_loads_by_hand(tmp_path):
    times = {"p50": 2.0, "p99": 5.0}
    calm = {"requests": 4000, "statuses": {"200": 4000}, "images_per_second": 1234.5}
    full = {"requests": 1500, "statuses": {"200": 1400, "429": 100}, "images_per_second": 700.0}
    record = {
        "time": "2026-01-02T03:04:05Z", "git_commit": "0123456789", "devices": "2 cores",
        "versions": {"jax": "9.9"}, "model": "digits_crnn", "image": "a JPEG of 64x64",
        "clients": 32, "seconds": 300.0,
        "saturated": {**calm, "milliseconds": times},
        "at_70_percent": {**calm, "milliseconds": times},
        "at_70_percent_at_random": {**full, "milliseconds": {"p50": 10.0, "p99": 200.0}},
        "megabytes": {"second_quarter": 100.2, "last_quarter": 110.6, "most": 111.0},
    }  # fmt: skip
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/serving_load.json").write_text(json.dumps(record))
    lines = tables.TABLES["serving_load"](tmp_path).splitlines()
    assert lines[2:5] == [
        "| 32 clients, 300 s | 1,234 | 2.0 | 5.0 | 2.5 | none |",
        "| 70% of that rate, evenly | 1,234 | 2.0 | 5.0 | 2.5 | none |",
        "| 70% of that rate, at random times | 700 | 10.0 | 200.0 | 20.0 | 100 with 429 of 1,500 |",
    ]
    assert "MB: 100 in the second quarter of the first load, 111 in the last. 2 cores" in lines[6]


def test_without_a_record_of_loads_the_table_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match=r"found none: run benchmarks/serving_load\.py --write"):
        tables.TABLES["serving_load"](tmp_path)


def test_the_table_of_the_sequencer_by_hand(tmp_path, append):
    setting = {"model": "sequencer2d_s", "image": 224, "batch": 16, "precision": "float32"}
    forward = {
        "ours": [1.0, 2.0, 4.0], "torch_eager": [1.0, 1.6, 2.0], "torch_compile": [2.0, 3.2, 4.0],
        "ratios": [0.5, 0.8, 1.25],
    }  # fmt: skip
    step = {**forward, "ours": [8.0, 8.0, 8.0], "ratios": [0.25, 0.5, 1.0]}
    facts = {"repeats": 3, "torch": "2.0", "versions": {"jax": "0.9"}, **setting}
    append(tmp_path, "sequencer", forward=step, step=step, **facts)  # older, of the same setting
    append(tmp_path, "sequencer", forward=forward, step=step, **facts)
    lines = tables.TABLES["sequencer"](tmp_path).splitlines()
    assert lines[2:4] == [
        "| sequencer2d_s, 224, 16, float32 | forward pass | 8.0 | 10.0 | 5.0 "
        "| 1.25 (0.80 to 2.00) |",
        "| sequencer2d_s, 224, 16, float32 | training step | 2.0 | 10.0 | 5.0 "
        "| 2.00 (1.00 to 4.00) |",
    ]
    assert lines[5].startswith("Median (min to max) of 3 rounds; above 1, ours takes longer. Py")
