"""Rates of configs that take turns."""

import pytest

from crnn_jax.flags import resolve_config
from crnn_jax.studies import rates


@pytest.mark.long
def test_each_config_trains_and_has_its_rate(monkeypatch, tmp_path):
    def take_turns(programs, repeats, **limits):
        for program in programs.values():
            program(1)
        return {name: [1.0, 2.0, 4.0] for name in programs}  # seconds

    monkeypatch.setattr(rates, "per_call", take_turns)
    tiny = {"model.hidden_units": "4", "batch_size": "8", "data.cache_dir": str(tmp_path)}
    points = {
        "once": resolve_config("configs/digits.py:rnn", {**tiny, "steps_per_dispatch": "1"}),
        "twice": resolve_config("configs/digits.py:rnn", {**tiny, "steps_per_dispatch": "2"}),
    }
    rates.write(tmp_path / "kept/rates.json", points)
    content = rates.read(tmp_path / "kept/rates.json")
    assert content is not None
    assert content["rates"]["once"] == pytest.approx([2.0, 4.0, 8.0])
    assert content["rates"]["twice"] == pytest.approx([4.0, 8.0, 16.0])
    assert rates.read(tmp_path / "none.json") is None
