"""The tables of the files under results/benchmarks/ and of the bottleneck study."""

import json
import pathlib
import statistics
from collections.abc import Iterable
from typing import Any

from crnn_jax.errors import UserError


def read_records(results: pathlib.Path, name: str, *keys: str) -> list[dict[str, Any]]:
    """Returns the newest line of results/benchmarks/NAME.jsonl for each `keys` and machine."""
    path = results / "benchmarks" / f"{name}.jsonl"
    if not path.exists():
        raise UserError(f"expected '{path}', found none: run benchmarks/{name}.py --write")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return list({str([line[key] for key in (*keys, "devices")]): line for line in lines}.values())


def newest_machine(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the records of the machine that was measured last: a note under a table says one."""
    machine = max(records, key=lambda record: record["time"])["devices"]
    return [record for record in records if record["devices"] == machine]


def where(record: dict[str, Any]) -> str:
    """Returns the machine, JAX's version, the commit and the date of a record."""
    commit = record["git_commit"] or "unknown"
    commit = commit[:7] + "*" * ("dirty" in commit)
    place = f"{record['devices']}, jax {record['versions']['jax']}"
    return f"{place}, commit {commit}, {record['time'][:10]}"


def median_of(spread: Iterable[float], digits: int = 2) -> str:
    """Returns "2.00 (1.00 to 3.00)" of [1.0, 2.0, 3.0]."""
    low, median, high = (f"{value:,.{digits}f}" for value in spread)
    return f"{median} ({low} to {high})"


def huge_pages_table(results: pathlib.Path) -> str:
    """Returns the seconds and page faults of a step by how its memory is taken."""
    lines = [
        "| config | malloc | s/step | page faults a step | plain / this | on |",
        "|---|---|---|---|---|---|",
    ]
    for record in read_records(results, "huge_pages", "config"):
        plain = record["plain"]["seconds"][1]
        for name in ("plain", "huge", "mapped", "kept"):
            if name not in record:  # older records have fewer
                continue
            faults, seconds = record[name]["page_faults"][1], record[name]["seconds"]
            lines.append(
                f"| {record['config']} | {name} | {median_of(seconds, 3)} | {faults:,.0f} "
                f"| {plain / seconds[1]:.2f} | n={record['repeats']}, {where(record)} |"
            )
    return "\n".join(lines)


def step_table(results: pathlib.Path) -> str:
    """Returns the images/s of a step, ours and PyTorch's."""
    lines = [
        "| config, batch | ours, images/s | PyTorch, eager | torch.compile | ours / best "
        "| at most, by our matmul rate | most memory, GB: XLA's plan, ours, eager, compiled | on |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record in read_records(results, "step", "config"):
        rates = " | ".join(
            f"{record['batch'] / record[name][1]:,.0f}"
            for name in ("ours", "torch_eager", "torch_compile")
        )
        on = f"PyTorch {record['torch']}, {where(record)}"
        setting = f"{record['config']}, {record['batch']}"
        best = min(record[name][1] for name in ("torch_eager", "torch_compile"))
        ratios = f"{median_of(record['ratios'])} | {best / record['floor_seconds']:.2f}"
        memory = record.get("memory_bytes", {})  # older records have none
        sizes = ", ".join(
            f"{memory[name] / 1e9:.2f}"
            for name in ("plan", "ours", "torch_eager", "torch_compile")
            if name in memory
        )
        lines.append(f"| {setting} | {rates} | {ratios} | {sizes or '-'} | {on} |")
    return "\n".join(lines)


def memory_table(results: pathlib.Path) -> str:
    """Returns the peak of each phase of a training, beside what XLA plans for its programs."""
    phases = ("setup", "compilation", "steps", "evaluation")
    lines = [
        "| training | malloc | most memory, GB: "
        + " | ".join(phases)
        + " | XLA's plan, GB: a step "
        "| an evaluation's batch | peak / (1.5 plan + 1 GB) | images/s | on |",
        "|---" * 11 + "|",
    ]
    for record in read_records(results, "memory", "setting", "malloc"):
        peak, plan = record["peak"], record["plan"]
        cells = [record["setting"], record["malloc"]]
        cells += [f"{peak[phase] / 1e9:.2f}" for phase in phases]
        cells += [f"{plan[name] / 1e9:.2f}" for name in ("training", "evaluation")]
        cells.append(f"{max(peak.values()) / (1.5 * plan['training'] + 1e9):.2f}")
        cells += [f"{record['images_per_second']:,.0f}", where(record)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def gru_table(results: pathlib.Path, backend: str = "cpu") -> str:
    """Returns the milliseconds of a GRU layer, forward and backward, ours and the peers'."""
    lines = [
        "| T | N | B | ours, ms | implementation | flax, ms | PyTorch, ms | flax / ours "
        "| PyTorch / ours | PyTorch / floor |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    shape = ("steps", "units", "batch")
    found = read_records(results, "gru", *shape, "cell", "dtype", "backend")
    records = [r for r in found if (r["cell"], r["backend"]) == ("gru", backend)]
    records = newest_machine(records)
    to_torch, at_most = [], []
    for record in sorted(records, key=lambda record: [record[name] for name in shape]):
        times = {name: 1e3 * seconds[1] for name, seconds in record["both"].items()}
        peers = {name: times.pop(name, None) for name in ("flax", "torch")}
        best = min(times, key=times.__getitem__)
        ratios = record["ratio"]["both"]
        to_torch.append(ratios["torch"][1])
        at_most.append(peers["torch"] / (1e3 * record["floor"]["both"]))
        cells = [*(str(record[name]) for name in shape), _milliseconds(times[best]), best]
        cells += [_milliseconds(time) for time in peers.values()]
        cells += [f"{ratios['flax'][1]:.2f}" if "flax" in ratios else "-"]
        cells += [median_of(ratios["torch"])]
        lines.append("| " + " | ".join([*cells, f"{at_most[-1]:.2f}"]) + " |")
    last = records[-1]
    spreads = [
        f"{min(ratios):.2f}/{statistics.median(ratios):.2f}/{max(ratios):.2f}"
        for ratios in (to_torch, at_most)
    ]
    note = (
        f"Medians, {last['dtype']}; a ratio is the median of {last['repeats']} rounds (their min "
        f"to max). PyTorch / ours {spreads[0]} (min/median/max of the shapes); {spreads[1]} if "
        "all our matmuls ran at the rate of a large one and nothing else took time."
    )
    return "\n".join([*lines, "", f"{note} PyTorch {last['torch']}, {where(last)}."])


def gru_gpu_table(results: pathlib.Path) -> str:
    """Returns `gru_table` of a GPU's records."""
    return gru_table(results, "gpu")


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def gru_parts_table(results: pathlib.Path) -> str:
    """Returns what the products and the cells of a GRU layer take, each alone."""
    lines = [
        "| T | N | B | ours, ms | products alone | cells alone | PyTorch, ms | PyTorch / ours "
        "| PyTorch / (products + cells) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    shape = ("steps", "units", "batch")
    records = newest_machine(read_records(results, "gru_parts", *shape, "backend"))
    at_most, rates = [], []
    for record in sorted(records, key=lambda record: [record[name] for name in shape]):
        times = {name: 1e3 * seconds[1] for name, seconds in record["seconds"].items()}
        rates.append(record["flops_per_second"])
        times["ours"] = min(times["scan"], times["hoisted"])
        cells = [str(record[name]) for name in shape]
        cells += [f"{times[name]:.1f}" for name in ("ours", "products", "cells", "torch")]
        cells += [median_of(record["ratio"][name]) for name in ("ours", "parts")]
        at_most.append(record["ratio"]["parts"][1])
        lines.append("| " + " | ".join(cells) + " |")
    last = records[-1]
    ours, torch = (
        1e-9 * statistics.median(rate[name] for rate in rates)
        for name in ("matmul", "torch_matmul")
    )
    note = (
        f"Forward and backward, float32, medians of {last['repeats']} rounds; ratios with min and "
        f"max of the rounds. PyTorch / (products + cells): median {statistics.median(at_most):.2f} "
        f"of the shapes. A product of 2048 x 2048: {ours:.0f} GFLOP/s in ours, {torch:.0f} in "
        f"PyTorch. PyTorch {last['torch']}, {where(last)}."
    )
    return "\n".join([*lines, "", note])


def input_table(results: pathlib.Path) -> str:
    """Returns what each input pipeline gives, and what it costs a step."""
    lines = [
        "| config, batch, pipeline | images/s alone | s/step with data | constant batch "
        "| data / constant | without overlap | on |",
        "|---|---|---|---|---|---|---|",
    ]
    for record in read_records(results, "input", "setting"):
        cells = [
            record["setting"],
            f"{record['images_per_second'][1]:,.0f}",
            f"{record['data'][1]:.4f}",
            f"{record['constant'][1]:.4f}",
            "{1:.3f} ({0:.3f} to {2:.3f})".format(*record["ratios"]),
            f"{record['alone_ratio']:.3f}",
            where(record),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def startup_table(results: pathlib.Path) -> str:
    """Returns the seconds from the command to the end of the first step, and their parts."""
    lines = [
        "| config | caches | total, s | setup | compile | first step | Python, imports | on |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record in read_records(results, "startup", "config"):
        for name in ("cold", "warm"):
            parts = [f"{record[name][key][1]:.2f}" for key in ("setup", "compile", "train", "rest")]
            cells = [record["config"], name, median_of(record[name]["total"]), *parts]
            cells.append(where(record))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def dispatch_table(results: pathlib.Path) -> str:
    """Returns the milliseconds of a step by the number of steps in one program."""
    lines = [
        "| config, batch | steps a program | ms/step | one / this | on |",
        "|---|---|---|---|---|",
    ]
    for record in read_records(results, "dispatch", "setting"):
        numbers = sorted((name for name in record if name.isdigit()), key=int)
        one = record[numbers[0]][1]
        for name in numbers:
            ms = median_of((1e3 * seconds for seconds in record[name]), 3)
            cells = [record["setting"], name, ms, f"{one / record[name][1]:.2f}", where(record)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def bottleneck_table(results: pathlib.Path) -> str:
    """Returns what bounds a step, from the files of crnn_jax.studies.bottleneck."""
    lines = [
        "| config | s/step | compute floor | memory floor | recurrent layers | input ratio "
        "| bound | on |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(results.glob("bottleneck_*.json")):
        content = json.loads(path.read_text())
        found, parts = content["measured"], content["shares"]
        step = found["step_seconds"]
        cells = [
            f"[{path.stem.removeprefix('bottleneck_')}](../results/{path.name})",
            f"{step:.4f}",
            f"{parts['compute']:.0%}",
            f"{parts['memory']:.0%}",
            f"{(found['recurrent_seconds'] or 0.0) / step:.0%}",
            f"{found['input_ratio']:.3f}",
            content["verdict"]["bound"],
            where({**content, "time": content["date"]}),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    if len(lines) == 2:
        raise UserError(
            f"expected '{results}/bottleneck_*.json', found none: run crnn_jax.studies.bottleneck"
        )
    return "\n".join(lines)


def reproducible_table(results: pathlib.Path) -> str:
    """Returns the seconds of a usual step and of one with equal bits on any devices."""
    lines = ["| config on devices | usual, s/step | reproducible, s/step | ratio | on |"]
    lines.append("|---|---|---|---|---|")
    for record in read_records(results, "reproducible", "config"):
        seconds = " | ".join(f"{record[name][1]:.3f}" for name in ("usual", "reproducible"))
        ratio, on = record["ratio"], where(record)
        lines.append(f"| {record['config']} | {seconds} | {ratio:.1f} | {on} |")
    return "\n".join(lines)
