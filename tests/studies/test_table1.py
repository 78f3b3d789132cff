"""Table 1: rows trained once, the files that are written, and what they say."""

import json
import pathlib

import pytest
from PIL import Image

from crnn_jax.studies import claims, table1

OURS = {"cnn": 0.88, "rnn": 0.6, "rnn_deep": 0.7, "lrcn": 0.86, "tsn": 0.85, "crnn": 0.89}


@pytest.fixture
def run(stub, tmp_path):
    stub.accuracy = lambda config: OURS[config.model.name] + 0.01 * config.seed

    def call(*arguments):
        table1.main(["--dataset=cifar10", f"--workdir={tmp_path}/runs", f"--results={tmp_path}",
                     *arguments])  # fmt: skip
        return json.loads(next(tmp_path.glob("table1_*.json")).read_text())

    return call


def test_every_row_once_and_what_is_written(run, stub, tmp_path, capsys):
    content = run("--budget=cpu")
    rows = {row["row"]: row for row in content["rows"]}
    assert [pathlib.Path(path).name for path in stub.trained] == [f"{r}_seed_0" for r in OURS]
    assert {name: row["accuracy_mean"] for name, row in rows.items()} == OURS
    assert all(row["n"] == 1 and row["ci95"] is None for row in rows.values())
    assert rows["crnn"]["difference"] == pytest.approx(0.89 - 0.915)
    assert rows["crnn"]["training_flops"] == 3 * 2e6 * 20 * 500
    (cnn,) = [pair for pair in content["crnn_minus"] if pair["row"] == "cnn"]
    assert cnn["mean"] == pytest.approx(0.01)
    assert "crnn" not in [pair["row"] for pair in content["crnn_minus"]]
    assert "does not hold" in content["sentences"][0]
    assert "holds in part: against RNN (0.50" in content["sentences"][1]
    assert content["missing"] == []
    for row in OURS:
        kept = json.loads((tmp_path / f"table1/cifar10_cpu/{row}_seed_0.json").read_text())
        assert kept["test"]["accuracy"] == OURS[row]
    table = (tmp_path / "table1_cifar10_cpu.md").read_text()
    assert "| crnn | 89.00% | 1 | 91.50% | -2.50 | - | 1,000 | 2.0 | 4 | 6.00e+10 | 50 |" in table
    assert table in capsys.readouterr().out
    with Image.open(tmp_path / "table1_cifar10_cpu.png") as picture:
        assert picture.width > 800


def test_goes_on_with_partial_rows_and_seeds(run, stub):
    content = run("--budget=full", "--rows=cnn,crnn", "--seeds=2")
    assert content["missing"] == ["rnn", "rnn_deep", "lrcn", "tsn"]
    assert "left out: rnn, rnn_deep, lrcn, tsn." in content["sentences"][-1]
    content = run("--budget=full", "--rows=crnn", "--seeds=3")
    assert len(stub.trained) == 5
    assert {row["row"]: row["n"] for row in content["rows"]} == {"cnn": 2, "crnn": 3}
    (pair,) = content["crnn_minus"]
    assert (pair["n"], pair["ci95"]) == (2, pytest.approx(0, abs=1e-9))
    stub.trained.clear()
    assert run("--budget=full", "--report")["rows"] == content["rows"]
    assert stub.trained == []


def test_matched_rows_say_how_near(run, stub, monkeypatch):
    plan = table1.make_plan
    monkeypatch.setattr(
        table1, "make_plan",
        lambda *a: table1.Plan(plan(a[0], "full", *a[2:]).points, "parameters", 1020),
    )  # fmt: skip
    content = run("--budget=equal_params", "--rows=cnn", "--seeds=1")
    assert content["rows"][0]["ratio_to_target"] == pytest.approx(1000 / 1020)
    assert "within 5%" in content["definition"]
    assert "parameters are 0.980 to 0.980 times the 1020 of the CRNN's" in content["sentences"][2]


def test_a_row_of_no_paper_has_no_difference(stub, tmp_path):
    arguments = ["--dataset=digits", "--budget=full", "--rows=rnn", "--seeds=1"]
    table1.main([*arguments, f"--workdir={tmp_path}/runs", f"--results={tmp_path}"])
    (row,) = json.loads((tmp_path / "table1_digits_full.json").read_text())["rows"]
    assert (row["paper"], row["difference"]) == (None, None)
    assert "| rnn | 50.00% | 1 | - | - | - |" in (tmp_path / "table1_digits_full.md").read_text()
    assert (tmp_path / "table1_digits_full.png").exists()


def test_the_cpu_budget_needs_presets_of_that_size(capsys):
    with pytest.raises(SystemExit):
        table1.main(["--dataset=digits", "--budget=cpu", "--rows=rnn"])
    assert "model 'rnn_small' has no preset in this config" in capsys.readouterr().err


def test_the_papers_rows_are_ours():
    assert all(set(rows) == set(table1.ROWS) for rows in claims.PAPER.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget=cpu", "--rows=crn"], "--rows expects"),
        (["--budget=cpu", "--seeds=-1"], "--seeds expects 1"),
        (["--budget=cpu", "--config.seed=1"], "no --config.seed"),
        (["--budget=cpu", "--dataset=cifar"], "cifar10.py"),
        (["--budget=small"], "invalid choice"),
    ],
)
def test_mistakes(run, stub, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert stub.trained == []


def test_rates_measured_side_by_side_replace_those_of_the_runs(run, stub, tmp_path, monkeypatch):
    asked = []

    def measure(points):
        asked.append(list(points))
        return {"cnn": [10.0, 20.0, 30.0], "crnn": [30.0, 40.0, 50.0]}

    monkeypatch.setattr(table1.rates, "measure", measure)
    content = run("--budget=full", "--rows=cnn,crnn", "--seeds=1", "--rates")
    assert asked == [["cnn", "crnn"]]
    rows = {row["row"]: row for row in content["rows"]}
    assert rows["cnn"]["images_per_second"] == [10.0, 20.0, 30.0]
    assert "2.00 times its images/s" in content["sentences"][1]
    assert "Images/s were measured apart" in (tmp_path / "table1_cifar10_full.md").read_text()
    run("--budget=full", "--rows=cnn,crnn", "--seeds=1")
    assert asked == [["cnn", "crnn"]]  # kept
    content = run("--budget=full", "--rows=tsn", "--seeds=1")
    assert content["rates"] is None  # a row without one: nothing is compared with another day's
    assert content["rows"][0]["images_per_second"] != [10.0, 20.0, 30.0]
