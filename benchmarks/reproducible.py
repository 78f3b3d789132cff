"""What equal bits on any number of devices cost: a usual step beside a reproducible one.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python benchmarks/reproducible.py
        [--config configs/digits.py:crnn] [--repeats 10] [--write]

Both run on 1 device and on all, interleaved. Virtual devices share the cores: only the ratio of two
steps on equally many devices means something. --write appends to
results/benchmarks/reproducible.jsonl.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from timing import append, interleave, spread

from crnn_jax.data.synthetic import synthetic_batch
from crnn_jax.flags import resolve_config
from crnn_jax.mesh import replicated
from crnn_jax.studies.scaling_point import image_shape
from crnn_jax.train.experiment import build
from crnn_jax.train.programs import make_step


def step_of(config_name: str, devices: int, *, reproducible: bool) -> Callable[[], Any]:
    """Returns one call = one finished step."""
    keys = {"mesh.data": str(devices), "reproducible": str(reproducible)}
    config = resolve_config(config_name, keys)
    experiment = build(config, image_shape(config), 10, 50_000)
    batch = synthetic_batch(
        experiment.task.fields(experiment.input_shape), 10, config.batch_size, experiment.mesh
    )
    channels = np.full(experiment.input_shape[2], 128.0)
    held = [experiment.init_state({"mean_C": channels, "std_C": channels / 2})]
    totals = jax.jit(experiment.task.empty, out_shardings=replicated(experiment.mesh))()
    step = make_step(experiment, lambda inputs, step: inputs)

    def run() -> None:
        held[0], _ = step(held[0], totals, batch)
        jax.block_until_ready(held[0])

    return run


def main() -> None:
    """Times the steps and prints the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default="configs/digits.py:crnn")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    for devices in sorted({1, jax.device_count()}):
        programs = {
            "usual": step_of(flags.config, devices, reproducible=False),
            "reproducible": step_of(flags.config, devices, reproducible=True),
        }
        found = {k: spread(v) for k, v in interleave(programs, flags.repeats).items()}
        ratio = found["reproducible"][1] / found["usual"][1]
        print(f"{devices} devices: {found}, {ratio:.2f} times as long")
        if flags.write:
            setting = {"config": f"{flags.config} on {devices}", "repeats": flags.repeats}
            append("reproducible", {**setting, **found, "ratio": ratio, "unit": "seconds"})


if __name__ == "__main__":
    main()
