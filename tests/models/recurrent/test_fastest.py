"""The choice of an implementation by the nearest measured shape, and the table's origin."""

import json
import pathlib

import jax.numpy as jnp
import pytest

from crnn_jax.models.recurrent import fastest as module
from crnn_jax.models.recurrent.fastest import MEASURED, fastest

RESULTS = pathlib.Path("results/benchmarks/gru.jsonl")


@pytest.fixture
def table(monkeypatch):
    cpu = {(8, 128, 128): "hoisted", (64, 128, 128): "scan", (64, 512, 1024): "hoisted"}
    monkeypatch.setattr(module, "MEASURED", {("cpu", "float32"): cpu})


def test_the_nearest_shape_decides(table):
    assert fastest("gru", 8, 128, 128, backend="cpu") == "hoisted"
    assert fastest("gru", 70, 100, 128, backend="cpu") == "scan"
    assert fastest("lstm", 70, 100, 128, backend="cpu") == "scan"
    assert fastest("gru", 70, 600, 900, backend="cpu") == "hoisted"


def test_what_was_not_measured_is_hoisted(table):
    assert fastest("gru", 64, 128, 128, backend="tpu") == "hoisted"
    assert fastest("gru_cho", 64, 128, 128, backend="cpu") == "hoisted"
    assert fastest("mingru", 64, 128, 128, backend="cpu") == "hoisted"


def test_the_table_is_what_the_results_say():
    """After new measurements: python benchmarks/gru.py --table."""
    found: dict[tuple[str, str], dict[tuple[int, int, int], str]] = {}
    for line in map(json.loads, RESULTS.read_text().splitlines()):
        if line["cell"] == "gru":
            ours = set(line["both"]) - {"flax", "torch"}
            times = {how: line["both"][how][1] for how in ours}
            shape = (line["steps"], line["units"], line["batch"])
            best = min(times, key=times.__getitem__)
            found.setdefault((line["backend"], line["dtype"]), {})[shape] = best
    assert found == MEASURED


def test_fused_only_where_it_can_run(monkeypatch):
    gpu = {(8, 128, 128): "fused"}
    monkeypatch.setattr(module, "MEASURED", {("gpu", "bfloat16"): gpu})

    def choose(cell="gru", units=128, dtype=jnp.bfloat16):
        return fastest(cell, 8, units, 1024, dtype, backend="gpu")

    assert choose() == "fused"
    assert fastest("gru", 8, 128, 1024, jnp.bfloat16, backend="gpu", remat=True) == "scan"
    assert choose("lstm") == "hoisted"
    assert choose(units=1024) == "hoisted"  # no part of its weights fits beside 1024 examples
    assert choose(dtype=jnp.float32) == "hoisted"  # not measured
