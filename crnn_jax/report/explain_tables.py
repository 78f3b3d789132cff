"""The table of benchmarks/explain.py."""

import pathlib

from crnn_jax.report.formats import markdown
from crnn_jax.report.speed_tables import read_records, where


def explain_table(results: pathlib.Path) -> str:
    """Returns the seconds of the programs that look into a model, as the newest run found them."""
    last = max(read_records(results, "explain", "runs"), key=lambda record: record["time"])
    titles = {name: f"`studies.{name}`" for name in last["programs"]}
    titles["page"] = f"`report`, {last['runs']} runs, {last['page_bytes'] / 1e6:.1f} MB"
    rows = [
        [titles[name], f"{seconds['seconds']:.1f}", f"{seconds['cpu_seconds']:.1f}"]
        for name, seconds in last["programs"].items()
    ]
    header = ["program, on the digits' models", "seconds", "of the processor"]
    return f"{markdown(header, rows)}\n\nOne run of each, with its start; {where(last)}."
