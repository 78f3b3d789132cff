"""The CRNN against the CNN, and itself with shuffled steps: what is trained and what is said."""

import json

import pytest

from crnn_jax.config import differences, flatten
from crnn_jax.studies import recurrence
from crnn_jax.studies.budgets import training_flops

DIGITS = "--config=configs/digits.py:crnn"


def accuracy(natural, cnn, fixed, per_image):
    """Returns the accuracies of seed 0; a seed more adds 0.1, and 0.01 to the differences."""
    found = {"natural": natural, "fixed": fixed, "per_image": per_image}

    def of(config):
        if config.model.name == "cnn":
            return cnn + 0.09 * config.seed
        step_order = config.model.step_order
        return found[step_order] + (0.1 if step_order == "natural" else 0.09) * config.seed

    return of


def run(tmp_path, *arguments, seeds=3, config=DIGITS):
    places = [f"--results={tmp_path}", f"--workdir={tmp_path}/runs"]
    recurrence.main([config, f"--seeds={seeds}", *places, *arguments])
    return json.loads(next(tmp_path.glob("recurrence_*.json")).read_text())


def test_rows_of_equal_flops_and_what_they_say(stub, tmp_path):
    stub.accuracy = accuracy(0.60, 0.50, 0.59, 0.70)
    content = run(tmp_path, "--duration=1 epochs")
    assert [path.rpartition("/")[2] for path in stub.trained[:4]] == [
        "crnn_seed_0", "cnn_seed_0", "crnn_fixed_seed_0", "crnn_per_image_seed_0",
    ]  # fmt: skip
    assert len(stub.trained) == 12
    crnn, cnn, fixed, per_image = content["rows"]
    assert crnn["crnn_minus"] is None
    assert cnn["crnn_minus"]["differences"] == pytest.approx([0.10, 0.11, 0.12])
    assert fixed["crnn_minus"]["mean"] == pytest.approx(0.02)
    assert per_image["crnn_minus"]["mean"] == pytest.approx(-0.09)
    # t(0.975, 2) = 4.303; the differences' standard deviation is 0.01: 2.48 points.
    assert content["sentences"] == [
        "At equal training FLOPs recurrence buys 11.00 ± 2.48 points over the CNN, one shuffled "
        "order of its steps costs nothing that shows (+2.00 ± 2.48 points), a shuffled order for "
        "each image buys 9.00 ± 2.48 points (n=3)."
    ]
    table = (tmp_path / "recurrence_digits_crnn.md").read_text()
    assert "| CNN | 59.00% ± 22.36 | 3 | +11.00 ± 2.48 |" in table
    assert "1 epochs a run of the CRNN" in table
    again = run(tmp_path, "--duration=1 epochs", "--report")
    assert len(stub.trained) == 12
    assert again["rows"] == content["rows"]


def test_what_differs_between_the_rows():
    overrides = {"duration": "2 epochs", "model.hidden_units": "32", "seed": "3"}
    points = recurrence.make_points("configs/digits.py:crnn,model.cell=lstm", overrides)
    flat = {name: flatten(config) for name, config in points.items()}
    assert list(points) == ["crnn", "cnn", "crnn_fixed", "crnn_per_image"]
    for name in ("fixed", "per_image"):
        assert differences(flat["crnn"], flat[f"crnn_{name}"]) == [
            f"model.step_order is 'natural' there and '{name}' here"
        ]
    shared = flat["crnn"].keys() & flat["cnn"].keys()
    changed = {key for key in shared if flat["crnn"][key] != flat["cnn"][key]}
    assert changed == {"duration", "model.name"}
    spent = {name: training_flops(config) for name, config in points.items()}
    assert spent["cnn"] == pytest.approx(spent["crnn"], rel=0.05)
    assert spent["crnn_fixed"] == spent["crnn_per_image"] == spent["crnn"]


def test_one_seed_shows_nothing(stub, tmp_path):
    stub.accuracy = accuracy(0.9, 0.5, 0.5, 0.5)
    content = run(tmp_path, "--name=own", seeds=1)
    assert (tmp_path / "recurrence_own.json").exists()
    (sentence,) = content["sentences"]
    assert "recurrence buys nothing that shows over the CNN (+40.00 points)" in sentence
    assert sentence.endswith("(n=1; one seed has no interval, so that nothing shows).")


@pytest.mark.parametrize(
    ("arguments", "config", "message"),
    [
        ([], "--config=configs/digits.py:rnn", "expects FILE:crnn or FILE:crnn_small"),
        ([], "--config=configs/digits.py", "expects FILE:crnn or FILE:crnn_small"),
        (["--config.model.step_order=fixed"], DIGITS, "no --config.model.step_order"),
        (["--config.duration=1 steps"], DIGITS, "no --config.duration"),
        (["--config.model.unit=3"], DIGITS, "'model.unit' is unknown"),
        (["--seeds=0"], DIGITS, "--seeds expects 1"),
    ],
)
def test_mistakes(stub, tmp_path, capsys, arguments, config, message):
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, *arguments, config=config)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert stub.trained == []
