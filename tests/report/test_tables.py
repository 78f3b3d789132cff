"""The results table comes from the files alone."""

import json

import pytest

from crnn_jax.errors import UserError
from crnn_jax.report import tables

ROW = {
    "row": "crnn",
    "accuracy_mean": 0.9312,
    "ci95": None,
    "n": 1,
    "epochs": 10.0,
    "parameters": 1234567,
    "flops_per_image": 5e7,
    "images_per_second": [300.0],
    "seconds": [{"train": 1500.0}],
    "git_commit": ["0123456789abcdef-dirty"],
    "devices": "2 cores",
}


def write(folder, name, rows):
    (folder / f"{name}.json").write_text(json.dumps({"date": "2026-01-02", "rows": rows}))


def mark(name):
    return f"<!-- table: {name} -->\n<!-- /table -->"


def test_table_by_hand(tmp_path):
    write(tmp_path, "b", [ROW])
    write(tmp_path, "a", [{**ROW, "ci95": 0.002, "n": 5}])
    lines = tables.runs_table(tmp_path).splitlines()
    assert len(lines) == 4
    assert "93.12% ± 0.20 | 5 |" in lines[2]
    assert lines[3] == (
        "| [b](results/b.json) | 93.12% | 1 | 10 | 1,234,567 | 50.0 | 300 | 25.0 min | 2 cores "
        "| 2026-01-02, 0123456* |"
    )


def append(folder, name, **record):
    path = folder / "benchmarks" / f"{name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    where = {"time": "2026-01-02T03:04:05Z", "git_commit": "0123456789", "devices": "2 cores"}
    with path.open("a") as file:
        file.write(json.dumps({**where, "versions": {"jax": "9.9"}, **record}) + "\n")


def test_the_newest_line_of_a_benchmark_counts(tmp_path):
    common = {"torch": "2.0", "batch": 100, "torch_eager": [1, 4, 5], "torch_compile": [1, 2, 3]}
    for config, ours in (("a", 1.0), ("b", 1.0), ("a", 0.5)):
        append(tmp_path, "step", config=config, ours=[0, ours, 9], ratio=2 / ours, **common)
    lines = tables.step_table(tmp_path).splitlines()
    assert lines[2].startswith("| a, 100 | 200 | 25 | 50 | 4.00 | PyTorch 2.0, 2 cores, jax 9.9")
    assert len(lines) == 4


def test_rates_and_faults_are_medians(tmp_path):
    rates = {name: [1, 20, 300] for name in ("forward", "image_grad", "kernel_grad_xla")}
    shape = {"shape": [8, 1, 32], "batch": 128, "matmul": [1, 150, 160], "ratio": 2.5}
    append(tmp_path, "conv_gradient", kernel_grad_ours=[1, 50, 60], **shape, **rates)
    table = tables.conv_gradient_table(tmp_path)
    assert "| 8, 1, 32 | 20 | 20 | 20 | 50 | 2.5 |" in table
    assert "150 GFLOP/s" in table
    pages = {n: {"seconds": [1, 2, 3], "page_faults": [1, 1000, 2000]} for n in ("plain", "huge")}
    append(tmp_path, "huge_pages", config="c", repeats=3, ratio=1.0, **pages)
    assert "| c | huge | 2.000 (1.000 to 3.000) | 1,000 |" in tables.huge_pages_table(tmp_path)


def test_replace_keeps_the_rest_and_is_stable(tmp_path):
    write(tmp_path, "a", [ROW])
    new = tables.replace_tables(f"# Title\n{mark('runs')}\nend\n", tmp_path)
    assert new.startswith("# Title\n<!-- table: runs -->\n\n| run |")
    assert new.endswith("|\n\n<!-- /table -->\nend\n")
    assert tables.replace_tables(new, tmp_path) == new


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no mark", "found none"),
        (mark("rnus"), "found 'rnus'"),
        (mark("runs"), "with rows"),
        (mark("step"), r"benchmarks/step\.py --write"),
    ],
)
def test_mistakes(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        tables.replace_tables(text, tmp_path)


def test_check_sees_an_old_table(tmp_path):
    write(tmp_path, "a", [ROW])
    readme = tmp_path / "README.md"
    readme.write_text(mark("runs"))
    arguments = [str(readme), f"--results={tmp_path}"]
    with pytest.raises(SystemExit) as stop:
        tables.main([*arguments, "--check"])
    assert stop.value.code == 2
    tables.main(arguments)
    tables.main([*arguments, "--check"])


def test_tables_of_the_input_by_hand(tmp_path):
    record = {"images": 256, "repeats": 5, "whole": [1, 2, 3], "crop": [1, 1.5, 2], "ratio": 1.8}
    append(tmp_path, "decoders", decoder="a", **record)
    append(tmp_path, "decoders", decoder="a", **{**record, "ratio": 2.0})
    lines = tables.TABLES["decoders"](tmp_path).splitlines()
    assert lines[2] == "| a | 2.00 (1.00 to 3.00) | 1.50 (1.00 to 2.00) | 2.00 |"
    assert lines[4] == "One core, 256 images, n=5. 2 cores, commit 0123456, 2026-01-02."
    append(
        tmp_path, "input_imagenet", one_core={"ours": [1.0, 2.0, 3.0]}, repeats=3,
        workers={"ours": {"1": [1, 500, 9], "2": [1, 900, 9]}}, torch_version="2.0",
        ratios={"to_torch": 1.8, "to_tfds_and_grain": 2.5, "to_decoder": 0.95,
                "two_workers_to_one": 1.8},
    )  # fmt: skip
    text = tables.TABLES["input_imagenet"](tmp_path)
    assert "| ours | 2.000 (1.000 to 3.000) | 500 |" in text
    assert "| ours | 500 | 900 |" in text
    assert "Ours is 1.80 times the DataLoader's rate, 2.50 times" in text
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
