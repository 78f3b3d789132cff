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


def test_table_by_hand(tmp_path):
    write(tmp_path, "b", [ROW])
    write(tmp_path, "a", [{**ROW, "ci95": 0.002, "n": 5}])
    lines = tables.make_table(tmp_path).splitlines()
    assert len(lines) == 4
    assert "93.12% ± 0.20 | 5 |" in lines[2]
    assert lines[3] == (
        "| [b](results/b.json) | 93.12% | 1 | 10 | 1,234,567 | 50.0 | 300 | 25.0 min | 2 cores "
        "| 2026-01-02, 0123456* |"
    )


def test_replace_keeps_the_rest_and_is_stable():
    text = f"# Title\n{tables.BEGIN}\nold\n{tables.END}\nend\n"
    new = tables.replace_table(text, "| t |")
    assert new == f"# Title\n{tables.BEGIN}\n\n| t |\n\n{tables.END}\nend\n"
    assert tables.replace_table(new, "| t |") == new


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match="found none"):
        tables.make_table(tmp_path)
    with pytest.raises(UserError, match="not both"):
        tables.replace_table("no markers", "")


def test_check_sees_an_old_table(tmp_path, capsys):
    write(tmp_path, "a", [ROW])
    readme = tmp_path / "README.md"
    readme.write_text(f"{tables.BEGIN}\n{tables.END}\n")
    arguments = [str(readme), f"--results={tmp_path}"]
    with pytest.raises(SystemExit) as stop:
        tables.main([*arguments, "--check"])
    assert stop.value.code == 2
    tables.main(arguments)
    tables.main([*arguments, "--check"])
