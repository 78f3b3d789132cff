"""Rates of a 3x3 convolution's forward pass and gradients, XLA's weight gradient against ours.

    python benchmarks/conv_gradient.py [--batch 128] [--repeats 5] [--shapes 32,64,64 8,128,256]
        [--dtype float32] [--write]

Prints GFLOP/s as min/median/max over interleaved repeats, after a matmul's as the device's peak,
and XLA's weight gradient time over ours. --write appends the rates as JSON, one line a shape, to
results/benchmarks/conv_gradient.jsonl.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from crnn_jax.models.convolution import conv2d

# Height (= width), channels in, channels out.
SHAPES = [
    (32, 3, 32), (32, 3, 64), (32, 32, 32), (32, 64, 64), (16, 32, 128), (16, 64, 128),
    (16, 128, 128), (8, 128, 256), (8, 128, 128), (8, 256, 256), (4, 256, 256),
    (8, 1, 32), (4, 32, 64), (8, 32, 32),
]  # fmt: skip
RESULTS = pathlib.Path(__file__).parent.parent / "results/benchmarks/conv_gradient.jsonl"


def rates(
    programs: dict[str, tuple[Callable, tuple]], flops: float, repeats: int
) -> dict[str, list[float]]:
    """Returns each program's GFLOP/s as [min, median, max], one run of each in turn."""
    seconds = {name: [] for name in programs}
    for repeat in range(-1, repeats):  # the first compiles
        for name, (program, arguments) in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start)
    return {
        name: [flops / 1e9 / of(times) for of in (max, statistics.median, min)]
        for name, times in seconds.items()
    }


def xla_conv2d(image: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the SAME convolution with XLA's own gradients."""
    return lax.conv_general_dilated(
        image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def measure(shape: tuple[int, int, int], batch: int, dtype: str, repeats: int) -> dict:
    """Returns the rates of the four programs at one shape."""
    size, inputs, outputs = shape
    random = np.random.default_rng(0)
    image = jnp.asarray(random.normal(size=(batch, size, size, inputs)), dtype)
    kernel = jnp.asarray(random.normal(size=(3, 3, inputs, outputs)), dtype)
    grad = jnp.asarray(random.normal(size=(batch, size, size, outputs)), dtype)

    def kernel_grad(convolution: Callable) -> Callable:
        def run(image: jax.Array, kernel: jax.Array, grad: jax.Array) -> jax.Array:
            return jax.vjp(lambda kernel: convolution(image, kernel), kernel)[1](grad)[0]

        return jax.jit(run)

    def image_grad(image: jax.Array, kernel: jax.Array, grad: jax.Array) -> jax.Array:
        return jax.vjp(lambda image: xla_conv2d(image, kernel), image)[1](grad)[0]

    programs = {
        "forward": (jax.jit(xla_conv2d), (image, kernel)),
        "image_grad": (jax.jit(image_grad), (image, kernel, grad)),
        "kernel_grad_xla": (kernel_grad(xla_conv2d), (image, kernel, grad)),
        "kernel_grad_ours": (kernel_grad(conv2d), (image, kernel, grad)),
    }
    flops = 2 * 9 * batch * size * size * inputs * outputs
    return rates(programs, flops, repeats)


def main() -> None:
    """Measures every shape, prints the table and appends it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--shapes", nargs="*", help="height,in,out", default=SHAPES)
    parser.add_argument("--write", action="store_true", help=f"append to {RESULTS.name}")
    flags = parser.parse_args()

    square = jnp.ones((2048, 2048), flags.dtype)
    matmul = {"matmul": (jax.jit(jnp.dot), (square, square))}
    peak = rates(matmul, 2 * 2048**3, flags.repeats)["matmul"]
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {os.cpu_count()} CPUs")
    print("matmul 2048, GFLOP/s (min/median/max):", "/".join(f"{rate:.0f}" for rate in peak))
    for shape in flags.shapes:
        if isinstance(shape, str):
            size, inputs, outputs = map(int, shape.split(","))
            shape = size, inputs, outputs
        found = measure(shape, flags.batch, flags.dtype, flags.repeats)
        ratio = found["kernel_grad_ours"][1] / found["kernel_grad_xla"][1]
        cells = (f"{name} " + "/".join(f"{r:.0f}" for r in v) for name, v in found.items())
        print(f"{shape!s:15}", *(f"{cell:28}" for cell in cells), f"x{ratio:.1f}", flush=True)
        if flags.write:
            record = dict(
                time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), jax=jax.__version__,
                machine=platform.processor() or platform.machine(), cpus=os.cpu_count(),
                device=jax.devices()[0].device_kind, batch=flags.batch, dtype=flags.dtype,
                shape=shape, matmul=peak, unit="GFLOP/s min, median, max", **found,
            )  # fmt: skip
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            with RESULTS.open("a") as file:
                file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
