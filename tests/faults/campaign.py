"""Runs the faults in their long form: make faults

About twenty minutes on two idle cores. ARGS="--kills=20 ..." changes how many there are of a kind,
ARGS=--part=kills measures one part again.
Exits with 1 if a killed training was lost, wrong, hung, stopped late or ended in a traceback, or if
a long one grew; other faults raise.
"""

import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from crnn_jax.provenance import describe_devices, git_commit, versions
from tests.faults import config_cases, damage, kills, long_run, runs, test_images

COUNTS = {"kills": 200, "checkpoints": 200, "records": 200, "configs": 2000, "images": 2000}
COUNTS["traced"] = 100  # configs
COUNTS["long_run"] = 10_000  # steps
PARTS = ("configs", "images", "damage", "kills", "long_run")
BAD = ("code", "hang", "late stop", "traceback", "lost", "other numbers")


def run_kills(count: int, folder: pathlib.Path, processes: int = 2) -> dict[str, Any]:
    """Returns the counts of `kills.run`, divided among processes."""
    with concurrent.futures.ThreadPoolExecutor(processes) as pool:
        folders = [folder / f"kills_{seed}" for seed in range(processes)]
        for each in folders:
            each.mkdir(parents=True)
        parts = list(
            pool.map(kills.run, [count // processes] * processes, range(processes), folders)
        )
    total: Counter[str] = Counter()
    for part in parts:
        total.update({k: v for k, v in part.items() if k != "operations" and k[-2:] != "_s"})
    slowest = {name: max(part[name] for part in parts) for name in ("slowest_s", "slowest_stop_s")}
    return {**total, "operations": parts[0]["operations"], **slowest}


def run_images(count: int) -> dict[str, int]:
    """Returns the counts of mutated image files."""
    files, read = test_images.seeds(), 0
    for number in range(count):
        name = sorted(files)[number % len(files)]
        data = test_images.mutate(files[name], np.random.default_rng(number))
        read += test_images.check(data)
    return {"cases": count, "read": read, "refused": count - read}


def run_damage(counts: dict[str, int], folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns the counts of damaged checkpoints and of damaged records, of the same two runs."""
    config, workdir, abstract, states = runs.finished(folder)
    start = time.monotonic()
    found = damage.damage_checkpoints(workdir, abstract, states, counts["checkpoints"], 0)
    checkpoints = {**found, "seconds": round(time.monotonic() - start)}
    start = time.monotonic()
    half = counts["records"] // 2
    records: Counter[str] = Counter()
    for path in (workdir, runs.stopped(folder)):
        kinds = damage.JSON_FILES if path == workdir else damage.JSON_FILES[:2]
        records.update(damage.damage_records(path, config, half, 0, kinds=kinds))
    return {
        "checkpoints": checkpoints,
        "records": {**records, "seconds": round(time.monotonic() - start)},
    }


def run_all(
    counts: dict[str, int], folder: pathlib.Path, parts: Collection[str] = PARTS
) -> dict[str, dict[str, Any]]:
    """Returns the counts of each kind of fault of the `parts`, with its seconds."""
    actions: dict[str, Callable[[], dict[str, Any]]] = {
        "configs": lambda: config_cases.run(counts["configs"], 0, counts["traced"]),
        "images": lambda: run_images(counts["images"]),
        "damage": lambda: run_damage(counts, folder),
        "kills": lambda: run_kills(counts["kills"], folder),
        "long_run": lambda: long_run.run(counts["long_run"], folder / "long"),
    }
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        start = time.monotonic()
        result = actions[part]()
        seconds = round(time.monotonic() - start)
        new = result if part == "damage" else {part: {**result, "seconds": seconds}}
        print(json.dumps(new), flush=True)
        found |= new
    return found


def main(argv: list[str]) -> int:
    """Writes the counts; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("path", type=pathlib.Path)
    parser.add_argument(
        "--part", choices=PARTS, action="append", help="measure this one; the file's others stay"
    )
    for name, count in COUNTS.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    flags = vars(parser.parse_args(argv))
    path, chosen = flags.pop("path"), flags.pop("part")
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
    with tempfile.TemporaryDirectory() as folder:
        measured = run_all(flags, pathlib.Path(folder), chosen or PARTS)
    changed = " ".join(argv[1:])
    about = {
        "command": f'make faults ARGS="{changed}"' if changed else "make faults",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "git_commit": git_commit(),
        "devices": describe_devices(),
    }
    found = {name: {**counts, "about": about} for name, counts in measured.items()}
    if chosen:
        found = {**json.loads(path.read_text())["faults"], **found}
    content = {"versions": versions(), "seeds": "numbered from 0", "faults": found}
    path.write_text(json.dumps(content, indent=2) + "\n")
    bad = any(measured.get("kills", {}).get(name, 0) for name in BAD)
    return int(bad or ("long_run" in measured and bool(long_run.problems(measured["long_run"]))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
