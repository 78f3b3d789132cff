"""Seconds of each program that looks into the digits' models, and of the page of many runs.

    python benchmarks/explain.py [--runs 20] [--write]

Trains the digits' CRNN and CNN, makes their evaluation reports, and starts each program of
docs/explain.md in a process of its own, as a user would. The page is of --runs runs: copies of the
two in turn. --write appends a JSON line to results/benchmarks/explain.jsonl.
"""

import argparse
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

from timing import append

MODELS = ("crnn", "cnn")


def timed(program: str, *arguments: str) -> dict[str, float]:
    """Returns {"seconds", "cpu_seconds"} of `python -m crnn_jax.PROGRAM ARGUMENTS`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    command = [sys.executable, "-m", f"crnn_jax.{program}", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{program}: {seconds:.1f} s, {cpu:.1f} s of the processor")
    return {"seconds": seconds, "cpu_seconds": cpu}


def main() -> None:
    """Trains, times and appends the seconds where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="on the page")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        runs, results = pathlib.Path(folder, "runs"), f"--results={folder}/results"
        workdirs = [f"--workdir={runs / model}" for model in MODELS]
        for model, workdir in zip(MODELS, workdirs, strict=True):
            timed("main", f"--config=configs/digits.py:{model}", workdir)
            timed("evaluate", workdir, "--report")
        found["architecture"] = timed(
            "studies.architecture", "--config=configs/digits.py:crnn", results
        )
        for study in ("saliency", "anytime"):
            found[study] = timed(f"studies.{study}", workdirs[0], results)
        found["robustness"] = timed("studies.robustness", *workdirs, results)
        copies = [runs / f"{MODELS[i % len(MODELS)]}_{i}" for i in range(flags.runs)]
        for i, copy in enumerate(copies):
            shutil.copytree(runs / MODELS[i % len(MODELS)], copy)
        page = pathlib.Path(folder, "report.html")
        several = [f"--workdir={copy}" for copy in copies]
        found["page"] = timed("report", *several, results, f"--out={page}")
        size = page.stat().st_size
    print(f"page of {flags.runs} runs: {size / 1e6:.2f} MB")
    if flags.write:
        append("explain", {"runs": flags.runs, "page_bytes": size, "programs": found})


if __name__ == "__main__":
    if not os.path.isdir("crnn_jax"):
        raise SystemExit("expected the repository's root as the current folder")
    main()
