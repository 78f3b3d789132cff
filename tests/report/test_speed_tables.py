"""The tables of benchmarks come from the files alone."""

import json

from crnn_jax.report import conv_tables, speed_tables


def test_the_newest_line_of_a_benchmark_counts(tmp_path, append):
    common = {"torch": "2.0", "batch": 100, "torch_eager": [1, 4, 5], "torch_compile": [1, 2, 3]}
    common["floor_seconds"] = 0.25
    for config, ours in (("a", 1.0), ("b", 1.0), ("a", 0.5)):
        append(
            tmp_path, "step", config=config, ours=[0, ours, 9], ratios=[1, 2 / ours, 5], **common
        )
        common["memory_bytes"] = {
            "plan": 1e9,
            "ours": 2e9,
            "torch_eager": 3e9,
            "torch_compile": 4e9,
        }
    lines = speed_tables.step_table(tmp_path).splitlines()
    memory = "1.00, 2.00, 3.00, 4.00"
    assert lines[2].startswith(
        f"| a, 100 | 200 | 25 | 50 | 4.00 (1.00 to 5.00) | 8.00 | {memory} | PyTorch 2.0, 2 cores"
    )
    assert len(lines) == 4


def test_a_trainings_memory_is_held_against_its_plan(tmp_path, append):
    gb = 10**9
    peak = {"setup": gb, "compilation": 2 * gb, "steps": 5 * gb, "evaluation": 3 * gb}
    plan = {"training": 2 * gb, "evaluation": gb}
    for rate in (1.0, 2500.0):
        append(tmp_path, "memory", setting="a", malloc="kept", peak=peak, plan=plan,
               images_per_second=rate)  # fmt: skip
    (line,) = speed_tables.memory_table(tmp_path).splitlines()[2:]
    numbers = "1.00 | 2.00 | 5.00 | 3.00 | 2.00 | 1.00 | 1.25 | 2,500"
    assert line.startswith(f"| a | kept | {numbers} | 2 cores")


def test_rates_and_faults_are_medians(tmp_path, append):
    passes = ("forward", "image_grad", "kernel_grad")
    rates = {f"{name}_xla": [1, 20, 300] for name in passes}
    rates |= {f"{name}_ours": [1, 50, 60] for name in passes}
    shape = {"shape": [8, 1, 32], "batch": 128, "matmul": [1, 150, 160], "ratio": 2.5}
    append(tmp_path, "conv_gradient", dtype="float32", **shape, **rates)
    shape["shape"] = [8, 1, 64]
    append(tmp_path, "conv_gradient", dtype="bfloat16", **shape, **rates)
    table = conv_tables.conv_gradient_table(tmp_path, "float32")
    assert "8, 1, 64" not in table
    assert "8, 1, 64" in conv_tables.conv_gradient_table(tmp_path, "bfloat16")
    assert "| 8, 1, 32 | 20 | 50 | 20 | 50 | 20 | 50 | 2.5 |" in table
    assert "150 GFLOP/s" in table
    rates["kernel_grad_winograd"] = [1, 44, 60]
    append(tmp_path, "conv_gradient", dtype="bfloat16", **shape, **rates)
    table = conv_tables.conv_gradient_table(tmp_path, "bfloat16")
    assert "| 8, 1, 64 | 20 | 50 | 20 | 50 | 20 | 50 | 2.5 | 44 |" in table
    measured = {"seconds": [1, 2, 3], "page_faults": [1, 1000, 2000]}
    pages = dict.fromkeys(("plain", "huge", "kept"), measured)
    append(tmp_path, "huge_pages", config="c", repeats=3, ratio=1.0, **pages)
    assert "| c | huge | 2.000 (1.000 to 3.000) | 1,000 |" in speed_tables.huge_pages_table(
        tmp_path
    )


def test_best_implementation_against_both_peers(tmp_path, append):
    shape = {"units": 4, "batch": 2, "cell": "gru", "dtype": "float32", "backend": "cpu"}
    shape["floor"] = {"both": 0.001}
    times = {"scan": [1, 0.002, 3], "hoisted": [1, 0.004, 3], "flax": [1, 0.006, 3],
             "torch": [1, 0.003, 3]}  # fmt: skip
    for steps, ratio in ((16, 1.5), (8, 1.5), (8, 0.5)):
        ratios = {"both": {"flax": [1, 3, 9], "torch": [0.25, ratio, 2]}}
        append(tmp_path, "gru", steps=steps, both=times, ratio=ratios, torch="2.0", repeats=3,
               **shape)  # fmt: skip
    append(tmp_path, "gru", steps=1, both={"scan": [1, 2, 3]}, ratio={"both": {}},
           torch=None, **{**shape, "cell": "mingru"})  # fmt: skip
    lines = speed_tables.gru_table(tmp_path).splitlines()
    # The newest of the two.
    assert lines[2].startswith("| 8 | 4 | 2 | 2.00 | scan | 6.00 | 3.00 | 3.00 | 0.50 (0.25 to ")
    assert lines[2].endswith(" 2.00) | 3.00 |")
    assert lines[3].startswith("| 16 | 4 |")
    assert len(lines) == 6
    assert "0.50/1.00/1.50" in lines[5]
    assert "3.00/3.00/3.00" in lines[5]


def test_a_table_with_one_note_has_the_machine_measured_last(tmp_path, append):
    common = {"units": 4, "batch": 2, "cell": "gru", "dtype": "float32", "backend": "cpu",
              "floor": {"both": 0.001}, "both": {"scan": [1, 0.002, 3], "torch": [1, 0.003, 3]},
              "ratio": {"both": {"torch": [1, 1.5, 2]}}, "torch": "2.0", "repeats": 3}  # fmt: skip
    append(tmp_path, "gru", steps=8, **common)
    append(tmp_path, "gru", steps=16, **common, devices="slow", time="2020-01-02T00:00:00Z")
    lines = speed_tables.gru_table(tmp_path).splitlines()
    assert [line[:4] for line in lines[2:-2]] == ["| 8 "]
    assert "2 cores" in lines[-1]


def test_a_gpu_has_a_table_of_its_own(tmp_path, append):
    shape = {"steps": 8, "units": 4, "cell": "gru", "dtype": "bfloat16", "torch": "2.0"}
    shape |= {"floor": {"both": 0.001}, "repeats": 3}
    for backend, ours, batch in (("cpu", "scan", 2), ("gpu", "fused", 1024)):
        append(tmp_path, "gru", both={ours: [1, 0.02, 3], "torch": [1, 0.03, 3]},
               ratio={"both": {"torch": [1, 1.5, 2]}}, backend=backend, batch=batch,
               **shape)  # fmt: skip
    assert speed_tables.gru_gpu_table(tmp_path).splitlines()[2] == (
        "| 8 | 4 | 1024 | 20.0 | fused | - | 30.0 | - | 1.50 (1.00 to 2.00) | 30.00 |"
    )
    assert "fused" not in speed_tables.gru_table(tmp_path)


def test_parts_of_a_gru_stand_beside_the_faster_of_ours(tmp_path, append):
    seconds = {"scan": [1, 0.004, 3], "hoisted": [1, 0.003, 3], "torch": [1, 0.006, 3],
               "products": [1, 0.002, 3], "cells": [1, 0.0005, 3]}  # fmt: skip
    for steps, at_most in ((8, 9.0), (8, 2.4), (16, 1.2)):
        append(tmp_path, "gru_parts", steps=steps, units=4, batch=2, backend="cpu", repeats=5,
               torch="2.0", seconds=seconds,
               flops_per_second={"matmul": 4e11, "torch_matmul": 2e11},
               ratio={"ours": [1.5, 2.0, 2.5], "parts": [2.0, at_most, 3.0]})  # fmt: skip
    lines = speed_tables.gru_parts_table(tmp_path).splitlines()
    assert lines[2] == (
        "| 8 | 4 | 2 | 3.0 | 2.0 | 0.5 | 6.0 | 2.00 (1.50 to 2.50) | 2.40 (2.00 to 3.00) |"
    )
    assert len(lines) == 6
    assert "median 1.80" in lines[5]
    assert "400 GFLOP/s in ours, 200 in PyTorch" in lines[5]


def test_input_startup_and_dispatch_are_medians(tmp_path, append):
    times = {"data": [1, 0.5, 1], "constant": [1, 0.4, 1], "images_per_second": [1, 2000, 3]}
    ratios = {"ratios": [1, 1.25, 2], "alone_ratio": 1.01}
    append(tmp_path, "input", setting="c, 8, resident", **times, **ratios)
    row = "| c, 8, resident | 2,000 | 0.5000 | 0.4000 | 1.250 (1.000 to 2.000) | 1.010 | 2 cores"
    assert row in speed_tables.input_table(tmp_path)
    parts = {"setup": [1, 1, 1], "compile": [1, 2, 3], "train": [0, 0.25, 1], "rest": [0, 0.5, 1]}
    for name, total in (("cold", 7.5), ("warm", 2.5)):
        parts |= {name: {**parts, "total": [total - 1, total, total + 1]}}
    append(tmp_path, "startup", config="c", cold=parts["cold"], warm=parts["warm"])
    table = speed_tables.startup_table(tmp_path)
    assert "| c | warm | 2.50 (1.50 to 3.50) | 1.00 | 2.00 | 0.25 | 0.50 | 2 cores" in table
    seconds = {"1": [0.1, 0.2, 0.3], "16": [0.1, 0.1, 0.1], "4": [0.4, 0.4, 0.4]}
    append(tmp_path, "dispatch", setting="c, 8", repeats=3, **seconds)
    lines = speed_tables.dispatch_table(tmp_path).splitlines()
    assert lines[2].startswith("| c, 8 | 1 | 200.000 (100.000 to 300.000) | 1.00 |")
    assert lines[3].startswith("| c, 8 | 4 | 400.000 (400.000 to 400.000) | 0.50 |")
    assert lines[4].startswith("| c, 8 | 16 | 100.000 (100.000 to 100.000) | 2.00 |")


def test_bottlenecks(tmp_path):
    content = {
        "date": "2026-01-02",
        "git_commit": "0123456789",
        "devices": "2 cores",
        "versions": {"jax": "9.9"},
        "measured": {"step_seconds": 0.5, "recurrent_seconds": 0.1, "input_ratio": 1.01},
        "shares": {"compute": 0.6, "memory": 0.25},
        "verdict": {"bound": "compute"},
    }
    (tmp_path / "bottleneck_a.json").write_text(json.dumps(content))
    row = (
        "| [a](../results/bottleneck_a.json) | 0.5000 | 60% | 25% | 20% | 1.010 | compute | 2 cores"
    )
    assert row in speed_tables.bottleneck_table(tmp_path)


def test_each_machine_has_its_line(tmp_path, append):
    times = {"data": [1, 1, 1], "constant": [1, 1, 1], "images_per_second": [1, 1, 1]}
    times |= {"ratios": [1, 1, 1], "alone_ratio": 1}
    for devices in ("2 cores", "a GPU", "2 cores"):
        append(tmp_path, "input", setting="c", **{**times, "devices": devices})
    assert len(speed_tables.input_table(tmp_path).splitlines()) == 4
