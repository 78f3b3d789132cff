"""What a prediction costs: ours, the exported files, and the same network in PyTorch.

    pip install -e ".[export,bench]"
    python benchmarks/serving.py [--config FILE:MODEL] [--repeats 10] [--torch_python PYTHON]
        [--write]

Each takes uint8 images of the host to probabilities on the host: `run.predict`, the StableHLO file,
the ONNX file in onnxruntime, and PyTorch as it is and under torch.compile, channels last. Their
outputs are checked equal first. Prints the latency of one image and the rate at 64, as
min/median/max over interleaved repeats, and PyTorch's faster time over each of ours in the same
round. Without PyTorch its rows are left out. --write appends a JSON line to
results/benchmarks/serving.jsonl.
"""

import argparse
import functools
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from peer import TorchPeer
from step import IMAGE_SHAPE, NORM, NUM_CLASSES, torch_arrays, torch_setting
from timing import PLAIN_CONFIG, append, interleave, spread

from crnn_jax.export.formats import format_of, load_file
from crnn_jax.export.metadata import describe
from crnn_jax.flags import resolve_config
from crnn_jax.run import Run
from crnn_jax.train.experiment import build

BATCHES = (1, 64)
FILES = ("stablehlo", "onnx")
Programs = dict[str, Callable[[], Any]]


def make_run(config_name: str) -> Run:
    """Returns a run of the config with the weights of its start."""
    config = resolve_config(config_name, {"mesh.data": "1", "precision": "float32"})
    experiment = build(config, IMAGE_SHAPE, NUM_CLASSES, 50_000)
    names = tuple(map(str, range(NUM_CLASSES)))
    return Run(pathlib.Path("serving"), experiment, experiment.init_state(NORM), names, {})


def our_programs(run: Run, images: np.ndarray) -> tuple[Programs, dict[str, Any]]:
    """Returns ({"ours_1": ..., "onnx_64": ...}, the probabilities of all images by each)."""
    programs: Programs = {}
    outputs = {"ours": run.probabilities(images)}
    for batch in BATCHES:
        programs[f"ours_{batch}"] = functools.partial(run.predict, images[:batch])
    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            path, form = pathlib.Path(folder) / f"model.{name}", format_of(name)
            form.save(form.make(run), path, describe(run))
            program: Any = load_file(path)
            outputs[name] = program.program(images)["probability"]
            for batch in BATCHES:
                programs[f"{name}_{batch}"] = functools.partial(program.program, images[:batch])
    return programs, outputs


def torch_programs(python: str, run: Run, images: np.ndarray) -> tuple[Programs, Any, str]:
    """Returns (programs, probabilities, PyTorch's version); empty ones where there is no PyTorch.

    Raises:
      SystemExit: the config's model is none that torch_peer.py has.
    """
    if subprocess.run([python, "-c", "import torch"], capture_output=True).returncode:
        print(f"{python} has no PyTorch: left out")
        return {}, None, ""
    if run.config.model.name not in ("cnn", "crnn"):
        raise SystemExit(f"PyTorch's side has cnn and crnn, found {run.config.model.name}")
    peer = TorchPeer(python)
    arrays = {"image_BHWC": images, **NORM, **torch_arrays(jax.device_get(run.state.params))}
    setting = {**torch_setting(run.config), "batches": BATCHES}
    probability, programs = peer.make("serving", arrays, setting)
    return dict(programs), probability, peer.version


def report(seconds: dict[str, list[float]], batch: int) -> dict[str, Any]:
    """Prints the rows of a number of images.

    Returns {program: [min, median, max] seconds}, and the like of the ratios under "ratios".
    """
    found = {name: spread(times) for name, times in seconds.items()}
    ratios_of: dict[str, Any] = {}
    peers = [name for name in found if name.startswith("torch")]
    best = min(peers, key=lambda name: found[name][1], default=None)
    for name, (low, median, high) in found.items():
        line = f"{name:18} {1e3 * low:8.3f}/{1e3 * median:.3f}/{1e3 * high:.3f} ms"
        line += f"  {batch / median:10,.0f} images/s"
        if best is not None and name not in peers:
            pairs = zip(seconds[best], seconds[name], strict=True)
            ratios = spread([theirs / ours for theirs, ours in pairs])
            ratios_of[f"{best}/{name}"] = ratios
            line += f"  {best} / it {ratios[0]:.2f}/{ratios[1]:.2f}/{ratios[2]:.2f}"
        print(line)
    return {**found, "ratios": ratios_of}


def main() -> None:
    """Checks that all are one network, times them and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default=PLAIN_CONFIG)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--torch_python", default=sys.executable, help="that has PyTorch")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    run = make_run(flags.config)
    images = np.random.default_rng(0).integers(0, 256, (BATCHES[-1], *IMAGE_SHAPE), np.uint8)
    programs, outputs = our_programs(run, images)
    peers, probability, version = torch_programs(flags.torch_python, run, images)
    if peers:
        outputs["torch"] = probability
    error = max(float(np.abs(output - outputs["ours"]).max()) for output in outputs.values())
    if not error < 1e-4:
        raise SystemExit(f"the programs differ: by {error:.1e} in a probability")
    print(f"probabilities agree to {error:.1e}")
    record: dict[str, Any] = {"config": flags.config, "repeats": flags.repeats, "torch": version}
    record |= {"unit": "seconds [min, median, max]", "largest_difference": error}
    for batch in BATCHES:
        ends = f"_{batch}"
        chosen = {name: p for name, p in {**programs, **peers}.items() if name.endswith(ends)}
        for program in chosen.values():  # compiles
            program()
        record[f"batch_{batch}"] = report(interleave(chosen, flags.repeats), batch)
    if flags.write:
        append("serving", record)


if __name__ == "__main__":
    main()
