"""The numbers of one short run, kept: a change of them is found, and has to be meant."""

import json

import pytest

from crnn_jax.train.loop import train

GOLDEN = {
    "loss at step 3": 2.3912,
    "loss at step 4": 2.3747,
    "loss at step 6": 2.2799,
    "loss at step 8": 2.2635,
    "loss at step 9": 2.319,
    "loss at step 12": 2.2519,
    "test loss": 2.2518,
    "parameters": 1046,
}
ADVICE = """
A short training of the digits gives other numbers than before. If nothing about training was meant
to change, something did: compare two commits by benchmarks/same_bits.py. If it was meant to (a new
default, another initialisation or order of augmentation), say so in CHANGELOG.md and put the
numbers found here in the place of GOLDEN:
{found}
"""


def test_a_short_run_gives_the_numbers_that_it_gave(tiny, tmp_path):
    config = tiny("crnn", data__validation=0.1, model__dropout=0.2, optim__learning_rate=0.02)
    result = train(config, str(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    found = {f"loss at step {x['step']}": x["train/loss"] for x in lines if "train/loss" in x}
    found |= {"test loss": result["test"]["loss"], "parameters": result["parameters"]}
    found = {name: round(value, 4) for name, value in found.items()}
    assert found == pytest.approx(GOLDEN, rel=2e-3), ADVICE.format(found=found)
