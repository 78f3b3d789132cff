"""One point of a scaling study, in a process (or several) of its own; see crnn_jax.studies.scaling.

Reads its settings, a JSON object, from the command line and prints one JSON object. The batch is
synthetic and stays on the devices: the step alone is measured, without an input pipeline.
"""

import glob
import json
import math
import sys
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from crnn_jax import distributed
from crnn_jax import mesh as mesh_lib
from crnn_jax.collectives import KINDS as COLLECTIVES
from crnn_jax.collectives import read_traffic
from crnn_jax.data.decode import sides
from crnn_jax.data.synthetic import synthetic_batch
from crnn_jax.ending import end_with
from crnn_jax.errors import UserError
from crnn_jax.flags import resolve_config
from crnn_jax.peaks import peak_flops
from crnn_jax.provenance import describe_devices, versions
from crnn_jax.train.experiment import build, enable_compile_cache
from crnn_jax.train.programs import jitted_step

_IMAGE_SHAPES = {"digits": (8, 8, 1), "tfds:cifar10": (32, 32, 3)}


def image_shape(config: ConfigDict) -> tuple[int, int, int]:
    """Returns (H, W, C) of the config's images, 224 x 224 x 3 for a source not known here."""
    height, width, channels = _IMAGE_SHAPES.get(config.data.source, (224, 224, 3))
    return *(sides(config.data.image_size) or (height, width)), channels


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the measurements of one point.

    Args:
      settings: config (FILE:MODEL), overrides, devices, repeats (of which each times `steps`
        steps), steps, matmul (whether to time that too).
    """
    keys = {**settings["overrides"], "mesh.data": str(settings["devices"])}
    keys["steps_per_dispatch"] = "1"
    config = resolve_config(settings["config"], keys)
    if config.reproducible:
        raise UserError(
            "config key 'reproducible' expects False in a study of scaling, which times one "
            "compiled step, found True"
        )
    enable_compile_cache(config)
    shape, num_classes = image_shape(config), 1000 if image_shape(config)[0] > 64 else 10
    experiment = build(config, shape, num_classes, 50_000)
    config = experiment.config
    mesh_lib.check_batch(config.batch_size, experiment.mesh)
    batch = synthetic_batch(
        experiment.task.fields(shape), num_classes, config.batch_size, experiment.mesh
    )
    channels = np.full(shape[2], 128.0)
    state = experiment.init_state({"mean_C": channels, "std_C": channels / 2})
    totals = jax.jit(experiment.task.empty, out_shardings=mesh_lib.replicated(experiment.mesh))()
    start = time.perf_counter()
    step = jitted_step(experiment, lambda inputs, step: inputs)
    compiled = step.lower(state, totals, batch).compile()
    compile_seconds = time.perf_counter() - start

    def take(count: int) -> float:
        nonlocal state, totals
        start = time.perf_counter()
        for _ in range(count):
            state, totals = compiled(state, totals, batch)
        jax.block_until_ready((state, totals))
        return (time.perf_counter() - start) / count

    take(max(2, settings["steps"]))
    seconds = [take(settings["steps"]) for _ in range(settings["repeats"])]
    first = jax.devices()[0]
    return {
        "devices": settings["devices"],
        "processes": jax.process_count(),
        "batch_size": config.batch_size,
        "compile_seconds": compile_seconds,
        "step_seconds": seconds,
        "flops_per_image": experiment.describe()["flops_per_image"],
        "parameters": experiment.describe()["parameters"],
        "peak_flops": peak_flops(first.device_kind, config.precision),
        "matmul_flops": _matmul_rate(config.precision) if settings["matmul"] else None,
        "collective_seconds": _collective_seconds(lambda: take(2), 2, settings["devices"]),
        **_read_program(compiled),
        "platform": first.platform,
        "described": describe_devices(),
        "versions": versions(),
    }


def _read_program(compiled: Any) -> dict[str, Any]:
    """Returns bytes a device: what the program holds, reads and writes, and sends."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    traffic = read_traffic(compiled.as_text())
    held = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    return {
        "memory_bytes": held + memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "bytes_accessed": cost.get("bytes accessed"),
        "collective_calls": traffic.total_calls,
        "collective_bytes": traffic.total_bytes,
        "collectives": {k: [n, traffic.num_bytes[k]] for k, n in traffic.calls.items() if n},
    }


def _matmul_rate(precision: str) -> float:
    """Returns the FLOP/s of a large matrix product on one device, the best of five."""
    size = 2048
    dtype = jnp.dtype(precision)
    product = jax.jit(lambda a, b: jnp.dot(a, b))
    left = jnp.ones((size, size), dtype)
    jax.block_until_ready(product(left, left))
    seconds = math.inf
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(product(left, left))
        seconds = min(seconds, time.perf_counter() - start)
    return 2 * size**3 / seconds


def _collective_seconds(run: Any, steps: int, devices: int) -> float | None:
    """Returns the seconds of a step that a device spends in collectives, waiting included."""
    if devices == 1:
        return 0.0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        total = 0.0
        for path in glob.glob(f"{folder}/**/*.xplane.pb", recursive=True):
            data = jax.profiler.ProfileData.from_file(path)
            for plane in data.planes:
                for line in plane.lines:
                    total += sum(
                        e.duration_ns for e in line.events if e.name.startswith(COLLECTIVES)
                    )
    local = devices // jax.process_count()
    return total / 1e9 / steps / local if total else None


if __name__ == "__main__":
    chosen = json.loads(sys.argv[1])
    end_with(chosen["parent"])
    distributed.start()
    with distributed.ending_together():
        distributed.say(json.dumps(measure(chosen)))
