"""Seconds from the command to the end of the first training step, without and with caches.

    python benchmarks/startup.py [--config configs/digits.py:crnn] [--repeats 3] [--write]

Starts `python -m crnn_jax.main` in new processes, first with an empty cache folder (no compiled
program, no decoded image), then with what that start left there, and stops each when its first
step is known to be done. Prints the seconds of each start, and of its phases as the run's own
metrics have them; the rest is Python, imports and the devices' start. --write appends a JSON line
to results/benchmarks/startup.jsonl.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from timing import append, spread

PHASES = ("setup", "compile", "train")  # train: the first step


def start(config: str, cache: str, overrides: list[str]) -> dict[str, float]:
    """Returns {"total", "setup", "compile", "train", "rest"}, seconds of one start."""
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-m", "crnn_jax.main", f"--config={config}"]
        command += [f"--workdir={workdir}", f"--config.data.cache_dir={cache}", *overrides]
        # A line a step; the second one is printed once the first step is done.
        command += ["--config.log.seconds=1e-9", "--config.log.every=1 steps"]
        begin = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            lines = 0
            for line in child.stdout:
                lines += line.startswith("step ")
                if lines == 2:
                    break
            total = time.perf_counter() - begin
            child.kill()
            error = child.stderr.read() if child.stderr is not None else ""
        if lines < 2:
            raise SystemExit(f"the run ended before its second step: {error.strip()}")
        first = json.loads((pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()[0])
    phases = {name: first[f"seconds/{name}"] for name in PHASES}
    return {"total": total, **phases, "rest": total - sum(phases.values())}


def main() -> None:
    """Starts the runs, prints the seconds and appends them where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default="configs/digits.py:crnn")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of a cold and a warm start")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags, overrides = parser.parse_known_args()
    starts: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for _ in range(flags.repeats):
        with tempfile.TemporaryDirectory() as cache:
            for name in starts:
                starts[name].append(start(flags.config, cache, overrides))
    found = {
        name: {key: spread([run[key] for run in runs]) for key in runs[0]}
        for name, runs in starts.items()
    }
    for name, runs in starts.items():
        parts = ", ".join(
            f"{key} {statistics.median(run[key] for run in runs):.2f}" for key in (*PHASES, "rest")
        )
        print(f"{name}: {found[name]['total'][1]:.2f} s ({parts})")
    if flags.write:
        unit = {"unit": "seconds [min, median, max]"}
        append("startup", {"config": flags.config, "repeats": flags.repeats, **unit, **found})


if __name__ == "__main__":
    if not os.path.isdir("crnn_jax"):
        raise SystemExit("expected the repository's root as the current folder")
    main()
