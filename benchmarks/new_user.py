"""Minutes from a clone to a photograph that is classified without JAX: a new user's first hour.

    python benchmarks/new_user.py --photos=runs/photographs [--write]

Copies the tracked files to an empty folder with an empty home, makes a virtual environment there,
installs, and runs what README names: train, evaluate, fine-tune on --photos (CLASS/*.jpg), predict,
export. A second environment, of onnxruntime, numpy and Pillow alone, classifies a photograph by
the exported file and the program in docs/export.md. Nothing is cached but what pip has. Each
command and its seconds are printed; --write appends a line to results/benchmarks/new_user.jsonl.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from timing import append

PYTHON = "venv/bin/python"
PAGE = pathlib.Path(__file__).parent.parent / "docs/export.md"
BLOCK = re.compile(r"^```python\n(import json, sys.*?)^```$", re.MULTILINE | re.DOTALL)
WITHOUT_JAX = """import importlib.util
if importlib.util.find_spec("jax"):
    raise SystemExit("expected no JAX, found one")
"""


def alone() -> str:
    """Returns the program of docs/export.md for one photo, which ends where JAX is installed."""
    (program,) = BLOCK.findall(PAGE.read_text())
    return WITHOUT_JAX + program


def commands(python: str, photos: str, photo: str) -> dict[str, str]:
    """Returns what is typed, by what it is for."""
    run = f"{PYTHON} -m crnn_jax"
    return {
        "install": f"{python} -m venv venv && {PYTHON} -m pip install --quiet "
        "'.[export,report]' -c constraints.txt",
        "train": f"{run}.main --config=configs/digits.py:crnn --workdir=runs/digits",
        "evaluate": f"{run}.evaluate --workdir=runs/digits --report",
        "fine-tune": f"{run}.main --config=configs/finetune.py:crnn,init.from=cifar10_crnn "
        f"--config.data.source=folder:{photos} --workdir=runs/photos",
        "predict": f"{run}.predict --workdir=runs/photos {photo}",
        "export": f"{run}.export --workdir=runs/photos --format=onnx --out=photos.onnx",
        "install without JAX": f"{python} -m venv other && other/bin/python -m pip install "
        "--quiet onnxruntime numpy pillow",
        "predict without JAX": f"other/bin/python alone.py photos.onnx {photo}",
    }


def copy_tracked(folder: pathlib.Path) -> None:
    """Copies the repository as a fresh clone would have it."""
    archive = subprocess.run(["git", "archive", "HEAD"], check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)


def main() -> None:
    """Runs the commands, prints their seconds and appends them where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", required=True, help="a folder of CLASS/*.jpg")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    photos = pathlib.Path(flags.photos).resolve()
    photo = min(photos.glob("*/*.jpg"))
    seconds = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name) / "clone"
        folder.mkdir()
        copy_tracked(folder)
        (folder / "alone.py").write_text(alone())
        dropped = ("PYTHONPATH", "VIRTUAL_ENV", "XLA_FLAGS", "XDG_CACHE_HOME")
        env = {key: value for key, value in os.environ.items() if key not in dropped}
        env["HOME"] = name
        for what, command in commands(sys.executable, str(photos), str(photo)).items():
            begin = time.perf_counter()
            done = subprocess.run(
                command, shell=True, cwd=folder, env=env, stdout=subprocess.PIPE, text=True
            )
            seconds[what] = time.perf_counter() - begin
            if done.returncode:
                raise SystemExit(f"expected exit code 0 of: {command}\n{done.stdout}")
            last = (done.stdout.strip().splitlines() or [""])[-1]
            print(f"{seconds[what]:6.1f} s  {what}: {last[:100]}", flush=True)
    print(f"{sum(seconds.values()):6.1f} s in all")
    if flags.write:
        shown = commands("python", "PHOTOS", "PHOTO")
        append("new_user", {"path": "README", "seconds": seconds, "commands": shown})


if __name__ == "__main__":
    main()
