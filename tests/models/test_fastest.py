"""The choice of an implementation by the nearest measured shape, and the table's origin."""

import json
import pathlib

import pytest

from crnn_jax.models import fastest as module
from crnn_jax.models.fastest import MEASURED, fastest

RESULTS = pathlib.Path("results/benchmarks/gru.jsonl")


@pytest.fixture
def table(monkeypatch):
    cpu = {(8, 128, 128): "hoisted", (64, 128, 128): "scan", (64, 512, 1024): "hoisted"}
    monkeypatch.setattr(module, "MEASURED", {"cpu": cpu})


def test_the_nearest_shape_decides(table):
    assert fastest("gru", 8, 128, 128, "cpu") == "hoisted"
    assert fastest("gru", 70, 100, 128, "cpu") == "scan"
    assert fastest("lstm", 70, 100, 128, "cpu") == "scan"
    assert fastest("gru", 70, 600, 900, "cpu") == "hoisted"


def test_what_was_not_measured_is_hoisted(table):
    assert fastest("gru", 64, 128, 128, "tpu") == "hoisted"
    assert fastest("gru_cho", 64, 128, 128, "cpu") == "hoisted"
    assert fastest("mingru", 64, 128, 128, "cpu") == "hoisted"


def test_the_table_is_what_the_results_say():
    """After new measurements: python benchmarks/gru.py --table."""
    found: dict[str, dict[tuple[int, int, int], str]] = {}
    for line in map(json.loads, RESULTS.read_text().splitlines()):
        if (line["cell"], line["dtype"]) == ("gru", "float32"):
            times = {how: line["both"][how][1] for how in ("scan", "hoisted")}
            shape = (line["steps"], line["units"], line["batch"])
            found.setdefault(line["backend"], {})[shape] = min(times, key=times.__getitem__)
    assert found == MEASURED
