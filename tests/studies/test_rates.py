"""Rates of configs that take turns."""

from crnn_jax.flags import resolve_config
from crnn_jax.studies import rates


def test_each_config_trains_and_has_its_rate(monkeypatch, tmp_path):
    monkeypatch.setattr(rates, "REPEATS", 2)
    monkeypatch.setattr(rates, "FILL_SECONDS", 0.0)
    tiny = {"model.hidden_units": "4", "batch_size": "8", "data.cache_dir": str(tmp_path)}
    points = {
        "rnn": resolve_config("configs/digits.py:rnn", tiny),
        "twice": resolve_config("configs/digits.py:rnn", {**tiny, "steps_per_dispatch": "2"}),
    }
    rates.write(tmp_path / "kept/rates.json", points)
    content = rates.read(tmp_path / "kept/rates.json")
    assert set(content["rates"]) == set(points)
    for low, median, high in content["rates"].values():
        assert 0 < low <= median <= high
    assert rates.read(tmp_path / "none.json") is None
