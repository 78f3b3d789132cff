"""The tables of benchmarks/export_equality.py and benchmarks/serving.py."""

import pathlib

from crnn_jax.report.formats import format_commits, markdown
from crnn_jax.report.speed_tables import median_of, read_records, where

_FORMATS = {"onnx": "ONNX", "stablehlo": "StableHLO"}
_SIZES = ("1", "64")
_SERVED = {
    "ours": "`run.predict`",
    "stablehlo": "StableHLO",
    "onnx": "ONNX, onnxruntime",
    "torch_eager": "PyTorch",
    "torch_compile": "PyTorch, torch.compile",
}


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


def serving_table(results: pathlib.Path) -> str:
    """Returns the latency of one image and the rate of 64, as the newest run found them."""
    last = max(read_records(results, "serving", "config"), key=lambda record: record["time"])
    header = ["by", "one image, ms", "PyTorch's faster / it", "64 images, images/s", "the same"]
    one, many = last["batch_1"], last["batch_64"]
    rows = [
        [
            title,
            median_of(1e3 * seconds for seconds in one[f"{name}_1"]),
            _ratio(one["ratios"], f"{name}_1"),
            median_of((64 / seconds for seconds in reversed(many[f"{name}_64"])), 0),
            _ratio(many["ratios"], f"{name}_64"),
        ]
        for name, title in _SERVED.items()
        if f"{name}_1" in one
    ]
    note = (
        f"Median (min to max) of {last['repeats']} rounds, {last['config']}. PyTorch "
        f"{last['torch']}, {where(last)}."
    )
    return f"{markdown(header, rows)}\n\n{note}"


def _ratio(ratios: dict[str, list[float]], name: str) -> str:
    """Returns the ratio whose key ends with the program's name, "-" for a peer's own."""
    found = [value for key, value in ratios.items() if key.endswith(f"/{name}")]
    return median_of(found[0]) if found else "-"
