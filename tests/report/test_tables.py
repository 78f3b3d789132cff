"""The results table comes from the files alone."""

import json

import pytest

from crnn_jax.errors import UserError
from crnn_jax.report import tables
from crnn_jax.report.study_tables import STUDY_TABLES

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
        "| [b](../results/b.json) | 93.12% | 1 | 10 | 1,234,567 | 50.0 | 300 | 25.0 min | 2 cores "
        "| 2026-01-02, 0123456* |"
    )


def test_runs_on_clips_have_a_table_of_their_own(tmp_path):
    write(tmp_path, "a", [ROW])
    content = {"date": "2026-01-02", "rows": [ROW], "config": {"task": "video"}}
    (tmp_path / "b.json").write_text(json.dumps(content))
    assert [line[:5] for line in tables.runs_table(tmp_path).splitlines()[2:]] == ["| [a]"]
    lines = tables.clips_table(tmp_path).splitlines()
    assert [line[:26] for line in lines[2:]] == ["| [b](../results/b.json) |"]
    assert "clips/s" in lines[0]


def test_replace_keeps_the_rest_and_is_stable(tmp_path):
    write(tmp_path, "a", [ROW])
    new = tables.replace_tables(f"# Title\n{mark('runs')}\nend\n", tmp_path)
    assert new.startswith("# Title\n<!-- table: runs -->\n\n| run |")
    assert new.endswith("|\n\n<!-- /table -->\nend\n")
    assert tables.replace_tables(new, tmp_path) == new


def test_a_study_has_a_table_of_its_own_by_its_files_name(tmp_path):
    write(tmp_path, "a", [ROW])
    content = {
        "study": "race",
        "config": "c.py",
        "rows": [ROW],
        "sentences": ["Reached."],
        "seconds": {
            "all": {"what": "x", "median": 2, "quartiles": [1, 3], "lowest": 0, "highest": 9}
        },
    }
    (tmp_path / "race_c.json").write_text(json.dumps(content))
    new = tables.replace_tables(f"{mark('runs')}\n{mark('race_c')}\n", tmp_path)
    assert "race_c" not in new.split("<!-- /table -->")[0]  # not among the runs
    assert "| x | 2.00 | 1.00 to 3.00 | 0.00 to 9.00 |" in new
    assert "Reached.\nc.py, 10 epochs; test accuracy 93.12%; n=1; 2 cores" in new
    with pytest.raises(UserError, match="found 'a'"):
        tables.replace_tables(mark("a"), tmp_path)


def test_the_short_table_has_five_columns(tmp_path):
    rows = [{**ROW, "paper": 0.915}, {**ROW, "row": "rnn", "paper": None, "ci95": 0.01, "n": 3}]
    content = {"study": "table1", "rows": rows}
    (tmp_path / "table1_x.json").write_text(json.dumps(content))
    lines = tables.make_table("table1_x_short", tmp_path).splitlines()
    assert lines[2] == "| crnn | 93.12% (n=1) | 91.50% | 300 | 25.0 min |"
    assert lines[3] == "| rnn | 93.12% ± 1.00 (n=3) | - | 300 | 25.0 min |"
    with pytest.raises(UserError, match="found 'a_short'"):
        tables.make_table("a_short", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no mark", "found none"),
        (mark("rnus"), "found 'rnus'"),
        (mark("runs"), "with rows"),
        (mark("step"), r"benchmarks/step\.py --write"),
        (mark("bottleneck"), r"studies\.bottleneck"),
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


def test_a_segmentation_has_its_own_columns_and_the_iou_of_each_class():
    found = {"pixel_accuracy": 0.95, "iou": [0.9, None, 0.8], "num_examples": 7}
    row = {key: value for key, value in ROW.items() if key != "accuracy_mean"}
    row |= {"mean_iou_mean": 0.85, "test": [found]}
    content = {"study": "mean_iou", "date": "2026-01-02", "rows": [row]}
    text = STUDY_TABLES["mean_iou"](content)
    assert "| 85.00% | 95.00% | 1 | 10 | 1,234,567 | 50.0 | 300 | 25.0 min | 2 cores |" in text
    assert text.endswith("seed 0, 7 images: 90.00%, -, 80.00%.")
