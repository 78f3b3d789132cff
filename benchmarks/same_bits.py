"""Whether a change leaves training as it was, to the bit: losses and parameters of short runs.

    python benchmarks/same_bits.py --out=before.json                # on the commit before
    python benchmarks/same_bits.py --out=after.json --against=before.json [--write]

Every model, on the digits and on CIFAR-10 (where $TFDS_DATA_DIR has it), resident and streaming, on
1 and on 8 virtual devices: twenty steps each. It writes each step's loss and the CRC-32 of each
array of the last checkpoint, and with --against names the runs that differ and ends with 1. An
--out that is there already is compared and not made again, so that files named by commits can be
compared later. --write appends the counts, with both files' names, to
results/benchmarks/same_bits.jsonl.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

MODELS = ("cnn", "rnn", "rnn_deep", "lrcn", "tsn", "crnn")
CONFIGS = {"digits": "configs/digits.py:{}", "cifar10": "configs/cifar10.py:{}_small"}
KEYS = {
    "duration": "20 steps",
    "batch_size": "64",
    "optim.warmup": "4 steps",
    "log.every": "1 steps",
    "log.tracker": "none",
    "checkpoint.every": "20 steps",
    "eval.every": "0 steps",
    "optim.ema_decay": "0.9",
    "data.validation": "0.1",
    "eval.report": "validation",
    "data.crop_padding": "1",
}


def run(data: str, model: str, pipeline: str) -> dict[str, Any]:
    """Returns {"losses", "validation", "arrays"} of one run."""
    from orbax.checkpoint import v1 as ocp

    from crnn_jax.flags import resolve_config
    from crnn_jax.train.loop import train

    config = resolve_config(CONFIGS[data].format(model), {**KEYS, "data.pipeline": pipeline})
    with tempfile.TemporaryDirectory() as workdir:
        result = train(config, workdir)
        lines = [json.loads(x) for x in pathlib.Path(workdir, "metrics.jsonl").open()]
        sealed: Any = ocp.metadata(os.path.join(workdir, "checkpoints", "20")).custom_metadata
        return {
            "losses": {x["step"]: x["train/loss"] for x in lines if "train/loss" in x},
            "validation": [result["validation"][name] for name in ("loss", "num_correct")],
            "arrays": sealed["body"]["leaves"],
        }


def main() -> None:
    """Runs all, each number of devices in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--against", default="")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    parser.add_argument("--devices", type=int, default=0, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    out = pathlib.Path(flags.out)
    if flags.devices:
        real = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "/nonexistent"), "cifar10").is_dir()
        found = {
            f"{data} {model} {pipeline} {flags.devices}": run(data, model, pipeline)
            for data in (CONFIGS if real else ["digits"])
            for model in MODELS
            for pipeline in ("resident", "streaming")
        }
        out.write_text(json.dumps(found, indent=1))
        return
    if not (flags.against and out.exists()):
        out.write_text(json.dumps(_run_all(out), indent=1))
    if flags.against:
        compare(pathlib.Path(flags.against), out, write=flags.write)


def _run_all(out: pathlib.Path) -> dict[str, Any]:
    found = {}
    for devices in (1, 8):
        part = out.with_suffix(f".{devices}")
        options = f"--xla_force_host_platform_device_count={devices}"
        env = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": options}
        command = [sys.executable, __file__, f"--out={part}", f"--devices={devices}"]
        subprocess.run(command, env=env, check=True)
        found |= json.loads(part.read_text())
        part.unlink()
    return found


def compare(first: pathlib.Path, second: pathlib.Path, *, write: bool) -> None:
    """Prints how many runs of two files are equal; ends with 1 if one differs."""
    before, after = (json.loads(path.read_text()) for path in (first, second))
    differ = [name for name in before if before[name] != after.get(name)]
    equal = len(before) - len(differ)
    print(f"{equal} of {len(before)} runs are equal to the bit")
    if write:
        from timing import append

        facts = {"before": first.stem, "after": second.stem, "equal": equal, "differ": differ}
        append("same_bits", facts | {"runs": list(before)})
    sys.exit(f"differ: {', '.join(differ)}" if differ else 0)


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
    main()
