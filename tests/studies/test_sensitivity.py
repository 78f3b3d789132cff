"""The grid of layers and hidden units: choices from the held-out part, test accuracy reported."""

import json

import pytest
from PIL import Image

from crnn_jax.errors import UserError
from crnn_jax.studies import sensitivity


@pytest.fixture
def run(stub, tmp_path):
    stub.accuracy = lambda config: (
        0.7 + 0.02 * config.model.num_conv_layers - 0.0001 * config.model.hidden_units
    )

    def call(*arguments):
        sensitivity.main(
            [f"--workdir={tmp_path}/runs", f"--results={tmp_path}", "--duration=2 epochs",
             *arguments]
        )  # fmt: skip
        return json.loads((tmp_path / "sensitivity_cifar10_crnn_small.json").read_text())

    return call


def test_grid_verdict_table_and_figure(run, stub, tmp_path, monkeypatch):
    configs = []
    accuracy = stub.accuracy
    stub.accuracy = lambda config: (configs.append(config), accuracy(config))[1]
    content = run("--layers=6,3,4", "--units=64,32,128", "--validation=0.2")
    assert (content["layers"], content["units"]) == ([3, 4, 6], [32, 64, 128])
    assert len(content["rows"]) == len(stub.trained) == 9
    assert {config.data.validation for config in configs} == {0.2}
    assert {config.duration for config in configs} == {"2 epochs"}
    assert {config.eval.report for config in configs} == {"test"}
    found = {(c.model.num_conv_layers, c.model.hidden_units) for c in configs}
    assert found == {(layers, units) for layers in (3, 4, 6) for units in (32, 64, 128)}
    assert (
        "does not hold: from 74.72% (3 layers, 128 units) to 81.68% (6 layers, 32 units)"
        in (content["sentences"][0])
    )
    table = (tmp_path / "sensitivity_cifar10_crnn_small.md").read_text()
    assert "| 6 | 81.68% (40.84) | 81.36% (40.68) | 80.72% (40.36) |" in table
    with Image.open(tmp_path / "sensitivity_cifar10_crnn_small.png") as picture:
        assert picture.width > 500


def test_the_choice_reads_the_held_out_part(stub, tmp_path):
    found = {}
    for layers, validation, test in ((3, 0.9, 0.5), (4, 0.4, 0.8)):
        stub.accuracy = lambda _, test=test: test
        result = stub(sensitivity.make_points("configs/cifar10.py:crnn", {}, [3], [8])
                      ["layers_3_units_8"], "x")  # fmt: skip
        result["validation"]["accuracy"] = validation
        found[sensitivity.point_name(layers, 8)] = [result]
    rows = sensitivity.make_rows(found, [3, 4, 5], [8])
    sentences = sensitivity.make_sentences(rows, 3)
    assert "Best on the held-out part: 3 layers and 8 units, 50.00% on the test split." in sentences
    assert sentences[-1] == "Not trained yet and left out: 1 points."


def test_goes_on_where_it_was(run, stub):
    run("--layers=3", "--units=16,32")
    content = run("--layers=3,4", "--units=16,32", "--seeds=2")
    assert len(stub.trained) == 8
    assert all(row["n"] == 2 for row in content["rows"])


def test_mistakes(run, capsys):
    for text in ("", "3,x", "0,3"):
        with pytest.raises(UserError, match="whole numbers above 0"):
            sensitivity.parse_numbers("--layers", text)
    for arguments, message in (
        (["--layers=2"], "at least one a stage"),
        (["--validation=0"], "more than 0 and less than 1"),
        (["--config.model.hidden_units=3"], "no --config.model.hidden_units"),
    ):
        with pytest.raises(SystemExit):
            run(*arguments)
        assert message in capsys.readouterr().err
