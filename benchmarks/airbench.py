"""The record holder of the race to 94%, run on this GPU: airbench94 by its own code and settings.

    python benchmarks/airbench.py --clone=FOLDER [--runs 10] [--torch_python PYTHON] [--write]

FOLDER is a clone of KellerJordan/cifar10-airbench; its airbench94_muon.py needs PyTorch with CUDA
and torchvision, and has CIFAR-10 from $TFDS_DATA_DIR. Prints the mean accuracy and the seconds as
min/median/max over the runs: plain of training alone, tta with the evaluation under test-time
augmentation, as airbench counts them. Where results/race_cifar10_race.json is of this machine, it
prints each over the same of our race (python -m crnn_jax.studies.race). Its first training, which
compiles, is not counted, as its own table does not. --write appends a JSON line to
results/benchmarks/airbench.jsonl.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from timing import append, spread

from crnn_jax.data.cache import decoded
from crnn_jax.data.dataset import load_dataset
from crnn_jax.errors import UserError, one_line_errors
from crnn_jax.flags import resolve_config
from crnn_jax.provenance import describe_devices

SCRIPT = "airbench94_muon.py"
RACE = pathlib.Path("results/race_cifar10_race.json")
PEER = pathlib.Path(__file__).with_name("airbench_peer.py").resolve()


def parse(text: str) -> dict[str, list[float]]:
    """Returns accuracies in 0..1 and seconds of each training but the first, in its table's order.

    A line is "| run | epoch | train_acc | val_acc | tta_val_acc | time_seconds |"; the last of a
    training has "eval" for an epoch, and repeats the accuracies of the line above it.
    """
    found: dict[str, list[float]] = {"plain": [], "tta": [], "seconds": [], "seconds_tta": []}
    seconds = 0.0
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 6 or cells[1] == "epoch":
            continue
        if cells[1] == "eval":
            values = (cells[3], cells[4], seconds, cells[5])
            for name, value in zip(found, values, strict=True):
                found[name].append(float(value))
        seconds = float(cells[5])
    return {name: values[1:] for name, values in found.items()}


def run_peer(clone: pathlib.Path, python: str, runs: int) -> str:
    """Returns what airbench prints."""
    config = resolve_config("configs/cifar10_race.py", {})
    dataset = load_dataset(config)
    arrays = {}
    for name in ("train", "test"):
        examples = decoded(
            dataset.splits[name],
            cache_dir=dataset.cache,
            fingerprint=dataset.source.fingerprint,
            skip_corrupt=False,
        )
        arrays[f"{name}_images"] = np.asarray(examples.fields["image"])
        arrays[f"{name}_labels"] = np.asarray(examples.fields["label"])
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/arrays.npz", **arrays)
        command = [python, str(PEER), str((clone / SCRIPT).resolve()), "arrays.npz", str(runs)]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise UserError(
            f"expected airbench to end with code 0, found {done.returncode}: it needs a GPU, "
            "PyTorch and torchvision under --torch_python"
        )
    return done.stdout


def main() -> None:
    """Runs the peer, prints its figures and appends them where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clone", type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--torch_python", default=sys.executable, help="that has PyTorch")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    with one_line_errors():
        if not (flags.clone / SCRIPT).exists():
            raise UserError(
                f"--clone expects a folder with {SCRIPT}, found none in '{flags.clone}': "
                "clone KellerJordan/cifar10-airbench"
            )
        found = parse(run_peer(flags.clone, flags.torch_python, flags.runs))
    race = json.loads(RACE.read_text()) if RACE.exists() else None
    if race and race["rows"][0]["devices"] != describe_devices():
        race = None
    ratios = {}
    for how, seconds, ours in (
        ("plain", "seconds", "without_compile"),
        ("tta", "seconds_tta", "with_evaluation"),
    ):
        low, median, high = spread(found[seconds])
        accuracy = 100 * float(np.mean(found[how]))
        print(f"airbench94, {how:5} {accuracy:.2f}%  {low:.2f}/{median:.2f}/{high:.2f} s", end="")
        if race:
            ratios[how] = median / race["seconds"][ours]["median"]
            print(f", airbench / ours {ratios[how]:.2f}", end="")
        print()
    if flags.write:
        append("airbench", {**found, "runs": flags.runs, "ratios": ratios})


if __name__ == "__main__":
    main()
