"""What a budget matches between the rows."""

import pytest

from crnn_jax.config import flatten
from crnn_jax.errors import UserError
from crnn_jax.flags import resolve_config
from crnn_jax.studies import budgets
from crnn_jax.train.experiment import build

DIGITS = "configs/digits.py"


def test_full_and_cpu_are_the_presets():
    cifar10 = "configs/cifar10.py"
    for budget, suffix in (("full", ""), ("cpu", "_small"), ("cpu_long", "_medium")):
        plan = budgets.make_plan(cifar10, budget, budgets.ROWS, {"batch_size": "64"})
        assert (tuple(plan.points), plan.matched) == (budgets.ROWS, "")
        for row, config in plan.points.items():
            preset = flatten(resolve_config(f"{cifar10}:{row}{suffix}", {}))
            assert flatten(config) == {**preset, "batch_size": 64}


def test_equal_flops_spends_what_the_crnn_spends():
    plan = budgets.make_plan(DIGITS, "equal_flops", ("cnn", "rnn", "crnn"), {})
    # README: 1,612,288 FLOPs an image; 60 epochs of 1,437 images in batches of 128 are 674 steps.
    assert plan.target == 3 * 3203584 * 674 * 128
    for row, config in plan.points.items():
        assert budgets.training_flops(config) == pytest.approx(plan.target, rel=0.05)
        before = flatten(resolve_config(f"{DIGITS}:{row}", {}))
        changed = {key for key, value in flatten(config).items() if value != before[key]}
        assert changed == {"duration"}
    assert plan.points["crnn"].duration == "674 steps"


def test_equal_params_changes_the_width_alone():
    plan = budgets.make_plan(DIGITS, "equal_params", ("cnn", "rnn", "crnn"), {})
    assert plan.target == 270842  # results/digits_crnn.json
    for row, key in (("cnn", "model.width"), ("rnn", "model.hidden_units"), ("crnn", None)):
        config, preset = flatten(plan.points[row]), flatten(resolve_config(f"{DIGITS}:{row}", {}))
        assert {k for k in config if config[k] != preset[k]} == ({key} if key else set())
        parameters = budgets._describe(plan.points[row])["parameters"]
        assert parameters == pytest.approx(plan.target, rel=0.05)


def test_what_cannot_be_matched_is_an_error():
    # A step of TSN costs half as much again as one of the CRNN: no number of steps fits one step.
    with pytest.raises(UserError, match="row 'tsn': expected training FLOPs within 5%"):
        budgets.make_plan(DIGITS, "equal_flops", ("tsn",), {"duration": "1 steps"})


def test_the_long_budget_of_a_cpu_is_4e14_flops_or_less():
    for row in budgets.ROWS:
        config = resolve_config(f"configs/cifar10.py:{row}_medium", {})
        experiment = build(config, (32, 32, 3), 10, 50_000)
        images = experiment.total_steps * config.batch_size
        spent = 3 * experiment.describe()["flops_per_image"] * images
        assert spent <= 4.01e14, row
        assert spent >= 3.8e14
