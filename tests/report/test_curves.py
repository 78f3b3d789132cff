"""Curves of what metrics.jsonl has."""

import json

import pytest

from crnn_jax.report.curves import learning_curves
from crnn_jax.report.run_files import read_runs


@pytest.mark.parametrize(
    ("peak", "title", "shown"),
    [(5.5e8, "host peak memory, MB", 550.0), (2.5e9, "host peak memory, GB", 2.5)],
)
def test_bytes_are_shown_in_a_unit_that_is_named(make_workdir, tmp_path, peak, title, shown):
    workdir = make_workdir(tmp_path / "a")
    lines = [{"step": step, "memory/host_peak_bytes": peak} for step in (1, 2)]
    (workdir / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (chart,) = learning_curves(read_runs([str(workdir)]))
    assert f"<figcaption>{title}</figcaption>" in chart
    assert f"{title} ends at {shown:g}" in chart
    assert "bytes" not in chart
