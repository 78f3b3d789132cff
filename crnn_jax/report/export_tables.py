"""The tables of benchmarks/export_equality.py, serving.py, serving_load.py and sequencer.py."""

import json
import pathlib

from crnn_jax.errors import UserError
from crnn_jax.report.formats import format_commits, markdown
from crnn_jax.report.speed_tables import median_of, newest_machine, read_records, where

_FORMATS = {"onnx": "ONNX", "stablehlo": "StableHLO"}
_SIZES = ("1", "64")
_SERVED = {
    "ours": "`run.predict`",
    "stablehlo": "StableHLO",
    "onnx": "ONNX, onnxruntime",
    "torch_eager": "PyTorch",
    "torch_compile": "PyTorch, torch.compile",
}
_LOADS = {
    "saturated": "{clients} clients, {seconds:.0f} s",
    "at_70_percent": "70% of that rate, evenly",
    "at_70_percent_at_random": "70% of that rate, at random times",
}
_PEERS = ("torch_eager", "torch_compile")


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


def serving_load_table(results: pathlib.Path) -> str:
    """Returns rate, times and errors of a server under each load, with the memory's growth."""
    path = results / "benchmarks" / "serving_load.json"
    if not path.exists():
        raise UserError(f"expected '{path}', found none: run benchmarks/serving_load.py --write")
    record = json.loads(path.read_text())
    header = ["load", "images/s", "median, ms", "99th percentile, ms", "99th / median", "errors"]
    rows = []
    for name, title in _LOADS.items():
        found, times = record[name], record[name]["milliseconds"]
        statuses = {code: n for code, n in found["statuses"].items() if code != "200"}
        counts = ", ".join(f"{n:,} with {code}" for code, n in statuses.items())
        rows.append(
            [
                title.format(**record),
                f"{found['images_per_second']:,.0f}",
                f"{times['p50']:.1f}",
                f"{times['p99']:.1f}",
                f"{times['p99'] / times['p50']:.1f}",
                f"{counts} of {found['requests']:,}" if counts else "none",
            ]
        )
    memory = record["megabytes"]
    note = (
        f"Model {record['model']}, {record['image']} in each request. Memory, MB: "
        f"{memory['second_quarter']:.0f} in the second quarter of the first load, "
        f"{memory['last_quarter']:.0f} in the last. {where(record)}."
    )
    return f"{markdown(header, rows)}\n\n{note}"


def sequencer_table(results: pathlib.Path) -> str:
    """Returns the images/s of the Sequencer, ours and timm's, on the machine measured last."""
    keys = ("model", "image", "batch", "precision")
    records = newest_machine(read_records(results, "sequencer", *keys))
    header = ["model, pixels, batch, precision", "program", "ours, images/s", "PyTorch, eager"]
    header += ["torch.compile", "ours / PyTorch's faster, seconds"]
    rows = []
    for record in records:
        setting = ", ".join(str(record[key]) for key in keys)
        for name, title in (("forward", "forward pass"), ("step", "training step")):
            found = record[name]
            rates = [f"{record['batch'] / found[by][1]:,.1f}" for by in ("ours", *_PEERS)]
            longer = median_of(1 / ratio for ratio in reversed(found["ratios"]))
            rows.append([setting, title, *rates, longer])
    last = max(records, key=lambda record: record["time"])
    note = (
        f"Median (min to max) of {last['repeats']} rounds; above 1, ours takes longer. PyTorch "
        f"{last['torch']}, {where(last)}."
    )
    return f"{markdown(header, rows)}\n\n{note}"


def _ratio(ratios: dict[str, list[float]], name: str) -> str:
    """Returns the ratio whose key ends with the program's name, "-" for a peer's own."""
    found = [value for key, value in ratios.items() if key.endswith(f"/{name}")]
    return median_of(found[0]) if found else "-"
