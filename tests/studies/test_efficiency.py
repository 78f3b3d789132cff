"""Curves of accuracy against cost: what they are made of, and how they are compared."""

import json
import math

import pytest
from PIL import Image

from crnn_jax.studies import efficiency, table1


def run(tmp_path, *arguments):
    places = [f"--results={tmp_path}", f"--workdir={tmp_path}/runs"]
    efficiency.main(["--dataset=cifar10", "--budget=cpu", *places, *arguments])
    return json.loads((tmp_path / "efficiency_cifar10_cpu.json").read_text())


def test_the_mean_gap_is_over_the_costs_that_both_cover():
    first, second = [(100.0, 0.7), (1.0, 0.5)], [(10.0, 0.5), (1000.0, 0.7)]
    assert efficiency.mean_gap(first, second) == pytest.approx(0.1)  # 0.6 to 0.7, 0.5 to 0.6
    assert efficiency.mean_gap(second, first) == pytest.approx(-0.1)
    # A triangle over two decades, of height 0.2: its mean is half of that.
    peak, flat = [(1.0, 0.5), (10.0, 0.7), (100.0, 0.5)], [(1.0, 0.5), (100.0, 0.5)]
    assert efficiency.mean_gap(peak, flat) == pytest.approx(0.1)
    assert efficiency.mean_gap(flat, [(100.0, 0.5), (200.0, 0.5)]) is None


@pytest.fixture
def sized(stub):
    """A training whose accuracy and cost grow with the width; the CRNN is 2 points higher."""

    def accuracy(config):
        crnn = config.model.name == "crnn"
        return 0.5 + 0.1 * math.log10(config.model.width) + crnn * (0.02 + 0.001 * config.seed)

    answer = stub.__call__

    def train(config, workdir):
        result = answer(config, workdir)
        result["flops_per_image"] = 1e6 * config.model.width
        result["seconds"]["train"] = 10.0 * config.model.width
        return result

    stub.accuracy = accuracy
    return train


def test_curves_verdict_table_and_figure(stub, sized, tmp_path, monkeypatch):
    monkeypatch.setattr("crnn_jax.train.loop.train", sized)
    content = run(tmp_path, "--sizes=2,0.5,1", "--seeds=2")
    assert [(row["row"], row["size"]) for row in content["rows"]] == [
        ("cnn", 0.5), ("cnn", 1), ("cnn", 2), ("crnn", 0.5), ("crnn", 1), ("crnn", 2),
    ]  # fmt: skip
    assert len(stub.trained) == 12
    widths = [row["training_flops"] / (3 * 1e6 * 20 * 500) for row in content["rows"]]
    assert widths == [12, 24, 48] * 2
    first, second = content["crnn_minus"]
    assert (first["cost"], second["cost"]) == ("training_flops", "train_seconds")
    assert first["differences"] == pytest.approx([0.02, 0.021])
    # t(0.975, 1) = 12.706 times 0.0005.
    assert content["sentences"] == [
        f"At equal {cost} the CRNN is higher than CNN (+2.05 ± 0.64 points, n=2): mean accuracy "
        "over the costs that both curves cover."
        for cost in ("training FLOPs", "seconds")
    ]
    table = (tmp_path / "efficiency_cifar10_cpu.md").read_text()
    assert "| crnn | 0.5 | 62.84% ± 0.64 | 2 |" in table
    with Image.open(tmp_path / "efficiency_cifar10_cpu.png") as picture:
        assert picture.width > 1000
    run(tmp_path, "--sizes=2,0.5,1", "--seeds=2")
    assert len(stub.trained) == 12


def test_kept_rows_stay_and_those_of_no_size_in_common_are_named(
    stub, sized, tmp_path, monkeypatch
):
    monkeypatch.setattr("crnn_jax.train.loop.train", sized)
    run(tmp_path, "--sizes=0.5,1")
    content = run(tmp_path, "--sizes=0.5,1", "--rows=tsn")
    assert [row["row"] for row in content["rows"]] == ["cnn", "cnn", "tsn", "tsn", "crnn", "crnn"]
    assert "One seed (n=1) has no interval" in content["sentences"][2]
    pairs = efficiency.compare(content["rows"][:1] + content["rows"][4:])
    assert [pair["mean"] for pair in pairs] == [None, None]  # one size is no curve
    sentences = efficiency.make_sentences(pairs, ["cnn_size_1"])
    assert sentences == [
        "Nothing can be compared at equal training FLOPs: no two curves share a seed.",
        "Nothing can be compared at equal seconds: no two curves share a seed.",
        "Not trained yet and left out: cnn_size_1.",
    ]


def test_a_difference_within_its_interval_tells_nothing_apart():
    rows = [
        {"row": name, "n": 2, "seeds": [0, 1], "training_flops": x, "train_seconds": [x, x],
         "accuracies": accuracies}
        for name, accuracies in (("cnn", [0.5, 0.5]), ("crnn", [0.51, 0.6])) for x in (1.0, 2.0)
    ]  # fmt: skip
    (sentence, _) = efficiency.make_sentences(efficiency.compare(rows), [])
    assert "the CRNN is not told apart from CNN (+5.50 ± 57.18 points, n=2)" in sentence


def test_table_1s_own_runs_are_taken_where_they_are_the_same(stub, tmp_path):
    places = [f"--results={tmp_path}", f"--workdir={tmp_path}/runs"]
    table1.main(["--budget=cpu", "--rows=cnn,crnn", *places])
    kept = tmp_path / "table1/cifar10_cpu"
    other = json.loads((kept / "crnn_seed_0.json").read_text())
    other["config"]["optim.momentum"] = 0.1
    (kept / "crnn_seed_0.json").write_text(json.dumps(other))
    stub.trained.clear()
    run(tmp_path, "--sizes=0.5,1")
    trained = [path.rpartition("/")[2] for path in stub.trained]
    assert trained == ["cnn_size_0.5_seed_0", "crnn_size_0.5_seed_0", "crnn_size_1_seed_0"]


def test_rates_measured_side_by_side_make_the_seconds(stub, tmp_path, monkeypatch):
    monkeypatch.setattr(
        efficiency.rates, "measure", lambda points: {name: [1.0, 50.0, 60.0] for name in points}
    )
    content = run(tmp_path, "--sizes=0.5,1", "--rates")
    assert [row["train_seconds"] for row in content["rows"]] == [[20 * 500 / 50.0]] * 4
    assert "measured apart" in (tmp_path / "efficiency_cifar10_cpu.md").read_text()
    content = run(tmp_path, "--sizes=0.7,1")
    assert content["rates"] is None
    assert content["rows"][0]["train_seconds"] == [100.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes=1"], "--sizes expects two or more"),
        (["--sizes=0,1"], "--sizes expects two or more"),
        (["--sizes=nan,1"], "--sizes expects two or more"),
        (["--sizes=1,x"], "--sizes expects two or more"),
        (["--rows=crn"], "--rows expects"),
        (["--config.model.width=3"], "no --config.model.width"),
        (["--dataset=digits"], "model 'cnn_small' has no preset"),
    ],
)
def test_mistakes(stub, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, *arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert stub.trained == []
