"""Which results of studies stand on a page."""

import json
import pathlib

import pytest

from crnn_jax.report.beside import names_workdir, parsed, studies_of_all, studies_of_runs
from crnn_jax.report.run_files import read_runs

RESULTS = pathlib.Path(__file__).parents[2] / "results"


@pytest.mark.parametrize(
    ("command", "belongs"),
    [
        ("python -m crnn_jax.studies.saliency --workdir=runs/a", True),
        ("python -m crnn_jax.studies.saliency --workdir runs/a --num=3", True),
        ("python -m crnn_jax.studies.robustness --workdir=runs/b --workdir=a", True),
        ("python -m crnn_jax.studies.saliency --workdir=runs/b", False),
        ("python -m crnn_jax.studies.saliency --workdir=other/a", False),
        ("python -m crnn_jax.studies.saliency --workdir='runs/a", False),
        ("", False),
    ],
)
def test_a_study_belongs_to_the_run_that_its_command_names(tmp_path, command, belongs):
    assert names_workdir(command, tmp_path / "runs" / "a") == belongs


def test_a_home_in_a_command_is_that_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names_workdir("python -m x --workdir=~/runs/a", tmp_path / "runs" / "a")
    assert not names_workdir("python -m x --workdir=~/runs/a", tmp_path / "b" / "runs" / "a")


@pytest.mark.parametrize("value", [None, [], "x", {}])
def test_results_of_another_shape_have_no_table(tmp_path, value):
    points = [{"devices": value, "batch_size": value, "seconds": 1, "images_per_second": 1}]
    points[0] |= {"efficiency": 1, "described": ""}
    files = {"a": {"study": [value]}, "b": {"study": "table1", "rows": value}}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "scaling").mkdir()
    (tmp_path / "scaling" / "c.json").write_text(json.dumps({"points": points}))
    table1, scaling = studies_of_all(tmp_path)
    assert (table1.table, scaling.table, scaling.charts) == ([], [], [])
    assert "is of another version" in table1.notes[0]


def test_studies_in_the_workdir_and_beside_it_are_found_once(make_workdir, tmp_path):
    a, b = make_workdir(tmp_path / "runs/a"), make_workdir(tmp_path / "runs/b")
    both = {"study": "robustness", "command": "x --workdir=runs/a --workdir=runs/b"}
    (tmp_path / "runs/robustness.json").write_text(json.dumps(both))
    (b / "saliency.json").write_text(json.dumps({"study": "saliency", "command": ""}))
    (b / "other.json").write_text(json.dumps({"study": "seeds"}))
    (b / "torn.json").write_text('{"study": "saliency"')
    found = studies_of_runs(read_runs([str(a), str(b)]), tmp_path / "runs")
    assert [study.path.name for study in found["a"]] == ["robustness.json"]
    assert [study.path.name for study in found["b"]] == ["saliency.json"]
    shown = [study.shown for study in found["a"] + found["b"]]
    assert shown == ["runs/robustness.json", "b/saliency.json"]
    notes = [note for study in found["a"] + found["b"] for note in study.notes]
    assert len(notes) == 2
    assert not any(str(tmp_path) in note for note in notes)


def test_the_project_s_own_results():
    found = {study.title: study for study in studies_of_all(RESULTS)}
    table1 = found["Table 1 of the paper: table1_cifar10_cpu"]
    assert [row[0] for row in table1.table[1:]] == ["cnn", "rnn", "rnn_deep", "lrcn", "tsn", "crnn"]
    assert table1.shown == "results/table1_cifar10_cpu.json"
    assert "the paper" in table1.charts[0]
    assert any(title.startswith("Fig. 2") for title in found)
    scaling = found["Scaling: digits_crnn_weak"]
    assert scaling.shown == "results/scaling/digits_crnn_weak.json"
    assert [row[0] for row in scaling.table[1:]] == ["1", "2", "4", "8"]
    assert all(study.table for study in found.values())


def test_a_markdown_table_becomes_cells():
    text = "| a | b |\n| --- | --- |\n| x \\| y | digits\\_cnn |\n\nA note of `code`."
    assert parsed(text) == ([["a", "b"], ["x | y", "digits_cnn"]], ["A note of code."])
