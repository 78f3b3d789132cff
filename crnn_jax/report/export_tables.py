"""The table of benchmarks/export_equality.py."""

import pathlib

from crnn_jax.report.formats import format_commits, markdown
from crnn_jax.report.speed_tables import read_records

_FORMATS = {"onnx": "ONNX", "stablehlo": "StableHLO"}
_SIZES = ("1", "64")


def equality_table(results: pathlib.Path) -> str:
    """Returns the largest difference of each model's files from it, as the newest run found it."""
    records = read_records(results, "export_equality", "model")
    last = max(records, key=lambda record: record["time"])
    records = [record for record in records if record["devices"] == last["devices"]]
    header = ["model", *(f"{form}, batch {n}" for form in _FORMATS.values() for n in _SIZES)]
    rows = [
        [
            record["model"],
            *(f"{record['largest_difference'][form][n]:.1e}" for form in _FORMATS for n in _SIZES),
        ]
        for record in records
    ]
    means = [record["likeliest_class"]["mean"] for record in records]
    commit = format_commits({"git_commit": [last["git_commit"] or "unknown"]})
    note = (
        f"Largest difference of a class probability, over {last['examples']:,} test images of "
        f"CIFAR-10 at batch 64 and the first {last['examples_alone']} one by one. The likeliest "
        f"class has {min(means):.2f} to {max(means):.2f} on average. onnxruntime "
        f"{last['packages']['onnxruntime']}, jax {last['versions']['jax']}, {last['devices']}, "
        f"commit {commit}, {last['time'][:10]}."
    )
    return f"{markdown(header, rows)}\n\n{note}"
