"""Tables of the ImageNet input and of the models' sizes, from result files alone."""

import json
import pathlib
from typing import Any

from crnn_jax.errors import UserError


def _lines(results: pathlib.Path, name: str) -> list[dict[str, Any]]:
    path = results / "benchmarks" / f"{name}.jsonl"
    if not path.exists():
        raise UserError(f"expected '{path}', found none: run benchmarks/{name}.py --write")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _where(record: dict[str, Any]) -> str:
    commit = record["git_commit"] or "unknown"
    dirty = "*" if "dirty" in commit else ""
    return f"{record['devices']}, commit {commit[:7]}{dirty}, {record['time'][:10]}"


def decoders_table(results: pathlib.Path) -> str:
    """Returns milliseconds an image of each decoder, the newest of each."""
    newest = {record["decoder"]: record for record in _lines(results, "decoders")}
    lines = ["| decoder | whole image, ms | crop to 224, ms | crops / Pillow's |"]
    lines.append("|---|---|---|---|")
    for record in newest.values():
        spreads = (record["whole"], record["crop"])
        cells = [f"{median:.2f} ({low:.2f} to {high:.2f})" for low, median, high in spreads]
        lines.append(f"| {record['decoder']} | {cells[0]} | {cells[1]} | {record['ratio']:.2f} |")
    last = list(newest.values())[-1]
    return "\n".join(
        [*lines, "", f"One core, {last['images']} images, n={last['repeats']}. {_where(last)}."]
    )


def input_imagenet_table(results: pathlib.Path) -> str:
    """Returns the newest run of benchmarks/input_imagenet.py: rates, stages and ratios."""
    record = _lines(results, "input_imagenet")[-1]
    lines = ["| | ms an image, one core | images/s |", "|---|---|---|"]
    for name, (low, median, high) in record["one_core"].items():
        lines.append(f"| {name} | {median:.3f} ({low:.3f} to {high:.3f}) | {1e3 / median:,.0f} |")
    lines += ["", "| worker processes, 2 cores | 1, images/s | 2, images/s |", "|---|---|---|"]
    for name, rates in record["workers"].items():
        lines.append(f"| {name} | {rates['1'][1]:,.0f} | {rates['2'][1]:,.0f} |")
    ratio = {
        name: f"{median:.2f} ({low:.2f} to {high:.2f})"
        for name, (low, median, high) in record["ratios"].items()
    }
    cpu = record["cpu_of_two_workers"]
    lines += [
        "",
        f"Ours is {ratio['to_torch']} times the DataLoader's rate, "
        f"{ratio['to_tfds_and_grain']} times that of plain TFDS and Grain, and "
        f"{ratio['to_decoder']} of what its decoder does with whole images; two workers do "
        f"{ratio['two_workers_to_one']} times what one does. With two, an image takes "
        f"{cpu['workers']:.2f} ms of CPU time in the workers and {cpu['process']:.2f} in the "
        f"process itself. n={record['repeats']}, PyTorch {record['torch_version']}. "
        f"{_where(record)}.",
    ]
    return "\n".join(lines)


def memory_table(results: pathlib.Path) -> str:
    """Returns the memory of a stream of images at several places."""
    record = _lines(results, "stream_memory")[-1]
    lines = ["| images streamed | MiB of the process | of its workers |", "|---|---|---|"]
    for images, own, workers in record["mebibytes"]:
        lines.append(f"| {images:,} | {own:,.0f} | {workers:,.0f} |")
    change = 100 * record["change"]
    return "\n".join(
        [*lines, "", f"From the second to the last: {change:+.1f}%. {_where(record)}."]
    )


def overfit_imagenet_table(results: pathlib.Path) -> str:
    """Returns the losses of the newest run of benchmarks/overfit_imagenet.py."""
    record = _lines(results, "overfit_imagenet")[-1]
    first, last = record["train_loss"]
    found = record["evaluated"]
    return "\n".join(
        [
            "| epochs | training loss, first and last | their centres, evaluated | training |",
            "|---|---|---|---|",
            f"| {record['epochs']} | {first:.2f}, {last:.4f} | {found['num_correct']}/"
            f"{found['num_examples']}, loss {found['loss']:.2f} | {record['seconds']:.0f} s |",
            "",
            f"{_where(record)}.",
        ]
    )


def sizes_imagenet_table(results: pathlib.Path) -> str:
    """Returns FLOPs and parameters of the models of configs/imagenet.py."""
    path = results / "sizes_imagenet.json"
    if not path.exists():
        raise UserError(f"expected '{path}', found none: run python -m crnn_jax.studies.sizes")
    content = json.loads(path.read_text())
    lines = ["| model | image | parameters | GFLOP forward, an image |", "|---|---|---|---|"]
    for row in content["models"]:
        lines.append(
            f"| {row['model']} | {row['image_size']} | {row['parameters']:,} "
            f"| {row['flops_per_image'] / 1e9:.2f} |"
        )
    commit = content["git_commit"] or "unknown"
    dirty = "*" if "dirty" in commit else ""
    return "\n".join([*lines, "", f"`{content['command']}`, commit {commit[:7]}{dirty}."])
