"""Rates of a 3x3 convolution's forward pass and gradients, XLA's own choice against ours.

    python benchmarks/conv_gradient.py [--batch 128] [--repeats 5] [--shapes 32,64,64 8,128,256]
        [--dtype float32] [--write]

XLA's programs are compiled by its defaults ("xla") and as a training's (crnn_jax/compiler.py,
"onednn"); ours as a training's, with our gradients. In bfloat16 on a CPU with AMX our weight
gradient is measured in its other form too, Winograd's. Prints GFLOP/s as min/median/max over
interleaved repeats, after a matmul's as the device's peak, and the rate of our weight gradient over
that of XLA's faster one. --write appends the rates, one JSON line a shape, to
results/benchmarks/conv_gradient.jsonl.
"""

import argparse
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from timing import append, per_call

from crnn_jax import processor
from crnn_jax.compiler import compiler_options
from crnn_jax.huge_pages import restart_with_huge_pages
from crnn_jax.models.convolution import conv2d

# Height (= width), channels in, channels out.
SHAPES = [
    (32, 3, 32), (32, 3, 64), (32, 32, 32), (32, 64, 64), (16, 32, 32), (16, 32, 128),
    (16, 64, 128), (16, 128, 128), (8, 128, 256), (8, 128, 128), (8, 256, 256), (4, 128, 128),
    (4, 256, 256), (8, 1, 32), (4, 32, 64), (8, 32, 32), (2, 128, 128),
]  # fmt: skip


def rates(programs: dict[str, Callable], flops: float, repeats: int) -> dict[str, list[float]]:
    """Returns each program's GFLOP/s as [min, median, max]; a repeat is a tenth of a second."""

    def calls(program: Callable) -> Callable[[int], None]:
        def run(number: int) -> None:
            for _ in range(number):
                jax.block_until_ready(program())

        return run

    ready = {name: calls(program) for name, program in programs.items()}
    seconds = per_call(ready, repeats, fill=0.1, most=100)
    return {name: [flops / 1e9 / t for t in reversed(times)] for name, times in seconds.items()}


def xla_conv2d(image: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the SAME convolution with XLA's own gradients."""
    return lax.conv_general_dilated(
        image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def measure(
    shape: tuple[int, int, int], batch: int, dtype: str, repeats: int
) -> dict[str, list[float]]:
    """Returns the rates of nine programs or ten at one shape: XLA's two of each pass, and ours."""
    size, inputs, outputs = shape
    random = np.random.default_rng(0)
    image = jnp.asarray(random.normal(size=(batch, size, size, inputs)), dtype)
    kernel = jnp.asarray(random.normal(size=(3, 3, inputs, outputs)), dtype)
    grad = jnp.asarray(random.normal(size=(batch, size, size, outputs)), dtype)

    def programs(convolution: Callable, suffix: str, options: Any) -> dict[str, Callable]:
        def image_grad(image: jax.Array, kernel: jax.Array, grad: jax.Array) -> jax.Array:
            return jax.vjp(lambda image: convolution(image, kernel), image)[1](grad)[0]

        def kernel_grad(image: jax.Array, kernel: jax.Array, grad: jax.Array) -> jax.Array:
            return jax.vjp(lambda kernel: convolution(image, kernel), kernel)[1](grad)[0]

        forward = jax.jit(convolution, compiler_options=options)
        of_image = jax.jit(image_grad, compiler_options=options)
        of_kernel = jax.jit(kernel_grad, compiler_options=options)
        return {
            f"forward_{suffix}": lambda: forward(image, kernel),
            f"image_grad_{suffix}": lambda: of_image(image, kernel, grad),
            f"kernel_grad_{suffix}": lambda: of_kernel(image, kernel, grad),
        }

    options = compiler_options(onednn=True)
    every = programs(xla_conv2d, "xla", None) | programs(xla_conv2d, "onednn", options)
    every |= programs(conv2d, "ours", options)
    if dtype == "bfloat16" and processor.has_bfloat16_tiles():
        with mock.patch.object(processor, "has_bfloat16_tiles", return_value=False):
            winograd = programs(conv2d, "winograd", options)["kernel_grad_winograd"]
            winograd()  # traced here
        every["kernel_grad_winograd"] = winograd
    flops = 2 * 9 * batch * size * size * inputs * outputs
    return rates(every, flops, repeats)


def main() -> None:
    """Measures every shape, prints the table and appends it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--shapes", nargs="*", help="height,in,out", default=SHAPES)
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()

    square = jnp.ones((2048, 2048), flags.dtype)
    matmul = jax.jit(jnp.dot)
    peak = rates({"matmul": lambda: matmul(square, square)}, 2 * 2048**3, flags.repeats)["matmul"]
    print("matmul 2048, GFLOP/s (min/median/max):", "/".join(f"{rate:.0f}" for rate in peak))
    for shape in flags.shapes:
        if isinstance(shape, str):
            size, inputs, outputs = map(int, shape.split(","))
            shape = size, inputs, outputs
        found = measure(shape, flags.batch, flags.dtype, flags.repeats)
        best = max(found[f"kernel_grad_{whose}"][1] for whose in ("xla", "onednn"))
        ratio = found["kernel_grad_ours"][1] / best
        cells = (f"{name} " + "/".join(f"{r:.0f}" for r in v) for name, v in found.items())
        print(f"{shape!s:15}", *(f"{cell:28}" for cell in cells), f"x{ratio:.1f}", flush=True)
        if flags.write:
            setting = {"batch": flags.batch, "dtype": flags.dtype, "repeats": flags.repeats}
            record = {"shape": shape, **setting, "unit": "GFLOP/s [min, median, max]"}
            append("conv_gradient", {**record, "matmul": peak, **found, "ratio": ratio})


if __name__ == "__main__":
    restart_with_huge_pages()  # as crnn_jax.main does
    main()
