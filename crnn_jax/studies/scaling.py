"""Strong and weak scaling: python -m crnn_jax.studies.scaling --mode=strong --config=FILE:MODEL

Each point is a process (or --processes of them) of its own, warmed up, timed several times. strong
keeps the global batch, weak that of a device. Without accelerators the devices are virtual and
share this machine's cores: such points test the study and say nothing of speed. --project=64,256
adds a projection to published hardware. Writes results/scaling/NAME_MODE.json and pictures.
"""

import datetime
import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any

import numpy as np

from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.flags import parse_overrides, resolve_config, split_name
from crnn_jax.studies.projection import ASSUMPTIONS, Program, study
from crnn_jax.studies.seeds import interval95


def run_point(settings: dict[str, Any], processes: int = 1) -> dict[str, Any]:
    """Returns what `scaling_point` prints for the settings, run as `processes` processes.

    Raises:
      UserError: a process failed; the message has its last line.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    local = settings["devices"] // processes
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={local}"
    started = []
    for index in range(processes):
        several = {
            "CRNN_JAX_COORDINATOR": address,
            "CRNN_JAX_NUM_PROCESSES": str(processes),
            "CRNN_JAX_PROCESS_ID": str(index),
        }
        text = json.dumps({**settings, "parent": os.getpid()})  # with which a point ends
        command = [sys.executable, "-m", "crnn_jax.studies.scaling_point", text]
        environ = {**os.environ, "XLA_FLAGS": flags, **(several if processes > 1 else {})}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True))
    ended = [(*process.communicate(), process.returncode) for process in started]
    for _, err, code in ended:
        if code != 0:
            last = (err.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"the point of {settings['devices']} devices failed: {last}")
    return json.loads(ended[0][0].strip().splitlines()[-1])


def summarize(points: list[dict[str, Any]], alone: dict[int, float]) -> list[dict[str, Any]]:
    """Returns the points with rates, speed-up and efficiency against the first.

    Args:
      points: from `scaling_point`, by devices.
      alone: {images a device: seconds of a step on one device}, from which a point is predicted.
    """
    rows, first = [], points[0]
    for point in points:
        seconds = float(np.mean(point["step_seconds"]))
        rate = point["batch_size"] / seconds
        first_rate = first["batch_size"] / float(np.mean(first["step_seconds"]))
        speedup = rate / first_rate * first["devices"]
        flops = 3 * point["flops_per_image"] * rate / point["devices"]
        # Virtual devices take turns on the cores; real ones work at once.
        turns = point["devices"] if point["platform"] == "cpu" else 1
        predicted = turns * alone[point["batch_size"] // point["devices"]]
        rows.append(
            {
                **point,
                "seconds": seconds,
                "ci95": interval95(point["step_seconds"]),
                "images_per_second": rate,
                "speedup": speedup,
                "efficiency": speedup / point["devices"],
                "mfu": flops / point["peak_flops"] if point["peak_flops"] else None,
                "predicted_seconds": predicted,
                "prediction_error": predicted / seconds - 1,
            }
        )
    return rows


def program_of(points: list[dict[str, Any]], curve: list[dict[str, Any]]) -> Program:
    """Returns what a projection needs; the collectives are those of the point of most devices."""
    last, rate = points[-1], max(point["matmul_flops"] for point in curve)
    utilization = {}
    for point in curve:
        flops = 3 * point["flops_per_image"] * point["batch_size"]
        utilization[point["batch_size"]] = flops / float(np.mean(point["step_seconds"])) / rate
    return Program(
        flops_per_image=last["flops_per_image"],
        gradient_bytes=last["collective_bytes"],
        calls=last["collective_calls"],
        utilization=utilization,
        bytes_accessed={point["batch_size"]: point["bytes_accessed"] for point in curve},
    )


def format_table(rows: list[dict[str, Any]]) -> str:
    """Returns the points as a Markdown table."""
    lines = [
        "| devices | processes | batch | s/step (95%) | images/s | speed-up | efficiency | MFU "
        "| collectives | memory/device | predicted |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        interval = "" if row["ci95"] is None else f" ± {row['ci95']:.4f}"
        share = row["collective_seconds"]
        cells = [
            f"{row['devices']} | {row['processes']} | {row['batch_size']}",
            f"{row['seconds']:.4f}{interval}",
            f"{row['images_per_second']:,.0f}",
            f"{row['speedup']:.2f} | {row['efficiency']:.0%}",
            "-" if row["mfu"] is None else f"{row['mfu']:.1%}",
            "-" if share is None else f"{share / row['seconds']:.0%} of the step",
            f"{row['memory_bytes'] / 2**20:,.0f} MiB",
            f"{row['prediction_error']:+.0%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def format_projection(projection: dict[str, Any]) -> str:
    """Returns the projection as lines a person reads."""
    lines = ["assumptions:", *(f"- {text}" for text in projection["assumptions"])]
    for name, chip in projection["chips"].items():
        for point in chip["points"]:
            lines.append(
                f"{name} x {point['chips']}: {point['step_seconds'] * 1e3:.2f} ms, "
                f"{point['images_per_second']:,.0f} images/s, MFU {point['mfu']:.1%}, bound by "
                f"{point['bound']}; 80% computing from batch {point['batch_for_80_percent']:,} on"
            )
        lines.append(
            f"{name}: strong scaling pays up to {chip['pays_up_to']} chips, "
            f"stopped by {chip['stopped_by']}"
        )
    return "\n".join(lines)


def _numbers(flag: str, text: str) -> list[int]:
    try:
        numbers = sorted({int(part) for part in text.split(",") if part})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 1:
        raise UserError(f"{flag} expects numbers such as 1,2,4,8, found '{text}'")
    return numbers


def _measure(flags: Any, overrides: dict[str, str]) -> tuple[list[Any], list[Any]]:
    """Returns (points, single-device points of the same images a device)."""
    batch_size = resolve_config(flags.config, overrides).batch_size
    shared = {"config": flags.config, "repeats": flags.repeats, "steps": flags.steps}

    def point(devices: int, batch: int, processes: int, matmul: bool) -> dict[str, Any]:
        print(f"measuring {devices} devices, batch {batch}", file=sys.stderr, flush=True)
        keys = {**overrides, "batch_size": str(batch)}
        settings = {**shared, "devices": devices, "overrides": keys, "matmul": matmul}
        return run_point(settings, processes)

    points, alone = [], {}
    for devices in _numbers("--devices", flags.devices):
        batch = batch_size if flags.mode == "strong" else batch_size * devices
        processes = flags.processes if devices % flags.processes == 0 else 1
        each = batch // devices
        if each not in alone:
            alone[each] = point(1, each, 1, True)
        points.append(alone[each] if devices == 1 else point(devices, batch, processes, False))
    return points, list(alone.values())


def main(argv: list[str]) -> None:
    """Measures, projects, writes and draws."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.scaling", description=__doc__)
    parser.add_argument("--config", required=True, metavar="FILE:MODEL")
    parser.add_argument("--mode", choices=("strong", "weak"), required=True)
    parser.add_argument("--devices", default="1,2,4,8")
    parser.add_argument(
        "--processes", type=int, default=1, help="number of processes, of a point that they divide"
    )
    parser.add_argument("--project", default="", metavar="64,256", help="numbers of chips")
    parser.add_argument(
        "--project_batch", type=int, default=1024, help="global batch of the projection"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps of each repeat")
    parser.add_argument("--name", default="", help="name of the files; default: from the config")
    parser.add_argument("--results", default="results/scaling", help="folder of the files")
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        overrides = parse_overrides(rest)
        chips = _numbers("--project", flags.project) if flags.project else []
        points, curve = _measure(flags, overrides)
        alone = {p["batch_size"]: float(np.mean(p["step_seconds"])) for p in curve}
        rows = summarize(points, alone)
        content = {
            "command": " ".join(["python -m crnn_jax.studies.scaling", *argv]),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "mode": flags.mode,
            "config": flags.config,
            "virtual": points[0]["platform"] == "cpu",
            "points": rows,
            "one_device": curve,
        }
        print(format_table(rows))
        if content["virtual"]:
            print("virtual devices share this machine's cores: no statement about speed")
        if chips:
            projected = study(program_of(points, curve), chips, flags.project_batch)
            content["projection"] = {
                "batch_size": flags.project_batch,
                "assumptions": ASSUMPTIONS,
                "chips": projected,
            }
            print(format_projection(content["projection"]))
        _write(flags, content)


def _write(flags: Any, content: dict[str, Any]) -> None:
    from crnn_jax.provenance import git_commit
    from crnn_jax.studies.scaling_figures import draw
    from crnn_jax.writers import write_json_atomically

    file, argument = split_name(flags.config)
    name = flags.name or f"{pathlib.Path(file).stem}_{argument or 'default'}"
    path = pathlib.Path(flags.results) / f"{name}_{flags.mode}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomically(path, {**content, "git_commit": git_commit()})
    print(f"written to {path}, {', '.join(map(str, draw(path, content)))}")


if __name__ == "__main__":
    main(sys.argv[1:])
