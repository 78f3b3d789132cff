"""What bounds a GRU layer, forward and backward: its products and its cells, each without the rest.

    pip install -e ".[bench]"
    python benchmarks/gru_parts.py [--steps 8 49] [--units 128 256 512] [--batch 128 1024]
        [--repeats 5] [--torch_python PYTHON] [--write]

"products" are the six multiplications of the layer at its own shapes, the thin ones in loops over
the steps, and nothing else. "cells" are the steps with their gradients where every product is
known: what is left is elementwise. Prints the medians in milliseconds, beside our layer's and
PyTorch's, float32, D = N; and PyTorch's seconds over ours, and over the sum of the two parts: what
a layer of these parts would reach if it had no other work and copied nothing. A large product of
each side is timed among them: the rate that its library reaches on this machine. --write appends a
JSON line a shape to results/benchmarks/gru_parts.jsonl.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from gru import Compiled, layer_of, make_programs
from jax import lax
from peer import TorchPeer
from timing import append, interleave, matmul_program, spread

from crnn_jax.compiler import compiler_options
from crnn_jax.huge_pages import restart_with_huge_pages
from crnn_jax.models.recurrent.cells import Carry
from crnn_jax.models.recurrent.hoisted import known_step
from crnn_jax.models.recurrent.time_steps import unroll_steps

Array = jax.Array

OURS = ("scan", "hoisted")


def products(steps: int, units: int, batch: int) -> Callable:
    """Returns a call that makes the six products of a layer's forward and backward pass."""
    keys = jax.random.split(jax.random.key(0), 5)
    feature_TBN, state_TBN, grad_TBG = (
        jax.random.normal(key, (steps, batch, width))
        for key, width in zip(keys, (units, units, 3 * units), strict=False)
    )
    kernel_x, kernel_h = (jax.random.normal(key, (units, 3 * units)) for key in keys[3:])

    def each_step(value_TBX: Array, kernel: Array) -> Any:
        if unroll_steps(steps) == steps:
            return [value_BX @ kernel for value_BX in value_TBX]
        # The last product alone leaves the loop, which makes all of them.
        start = jnp.zeros((batch, kernel.shape[1]))
        return lax.scan(lambda _, value_BX: (value_BX @ kernel, None), start, value_TBX)[0]

    def run(
        feature_TBN: Array, state_TBN: Array, grad_TBG: Array, kernel_x: Array, kernel_h: Array
    ) -> Any:
        feature, state, grad = (
            value.reshape(-1, value.shape[-1]) for value in (feature_TBN, state_TBN, grad_TBG)
        )
        return (
            feature @ kernel_x,
            each_step(state_TBN, kernel_h),
            each_step(grad_TBG, kernel_h.T),
            grad @ kernel_x.T,
            feature.T @ grad,
            state.T @ grad,
        )

    return _program(run, feature_TBN, state_TBN, grad_TBG, kernel_x, kernel_h)


def cells(steps: int, units: int, batch: int) -> Callable:
    """Returns a call that makes the elementwise work of all steps, forward and backward."""
    keys = jax.random.split(jax.random.key(0), 4)
    gates = tuple(
        jax.random.normal(key, (steps, batch, width * units))
        for key, width in zip(keys, (2, 1, 1), strict=False)
    )
    grad_TBN = jax.random.normal(keys[3], (steps, batch, units))

    def states(gates: tuple[Array, Array, Array]) -> Array:
        def body(carry: Carry, gate: tuple[Array, Array, Array]) -> tuple:
            carry = known_step("gru", carry, gate, None)
            return carry, carry[0]

        # As in the layer: the backward pass reads the gates and makes the rest again.
        body = jax.checkpoint(body, prevent_cse=False)
        return lax.scan(body, (jnp.zeros((batch, units)),), gates, unroll=unroll_steps(steps))[1]

    return _program(lambda gates, grad_TBN: jax.vjp(states, gates)[1](grad_TBN), gates, grad_TBN)


def _program(run: Callable, *arrays: object) -> Callable:
    jitted = jax.jit(run, compiler_options=compiler_options(onednn=False))
    return lambda: jax.block_until_ready(jitted(*arrays))


def main() -> None:
    """Measures every shape, prints a line for each and appends it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, nargs="*", default=[8, 49])
    parser.add_argument("--units", type=int, nargs="*", default=[128, 256, 512])
    parser.add_argument("--batch", type=int, nargs="*", default=[128, 1024])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--torch_python", default=sys.executable, help="that has PyTorch")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    peer = TorchPeer(flags.torch_python)
    for shape in itertools.product(flags.steps, flags.units, flags.batch):
        compiled = {
            name: Compiled(layer_of(name, "gru", shape[1], "float32"), shape, "float32")
            for name in OURS
        }
        layers = make_programs("gru", "float32", shape, compiled, peer)
        programs = {name: layers[name]["both"] for name in (*OURS, "torch")}
        programs |= {"products": products(*shape), "cells": cells(*shape)}
        matmul, flops = matmul_program("float32")
        programs |= {"matmul": matmul, "torch_matmul": layers["torch"]["matmul"]}
        seconds = interleave(programs, flags.repeats)
        found = {name: spread(times) for name, times in seconds.items()}
        ours = seconds[min(OURS, key=lambda name: found[name][1])]
        parts = [sum(pair) for pair in zip(seconds["products"], seconds["cells"], strict=True)]
        ratio = {
            name: spread([theirs / own for theirs, own in zip(seconds["torch"], of, strict=True)])
            for name, of in (("ours", ours), ("parts", parts))
        }
        where = dict(zip(("steps", "units", "batch"), shape, strict=True))
        print(
            *(f"{name}={value}" for name, value in where.items()),
            *(f"{name} {1e3 * times[1]:.1f}" for name, times in found.items()),
            *(f"torch / {name} " + "/".join(f"{x:.2f}" for x in of) for name, of in ratio.items()),
            flush=True,
        )
        if flags.write:
            setting = {"repeats": flags.repeats, "backend": jax.default_backend()}
            setting |= {"torch": peer.version, "unit": "seconds [min, median, max]"}
            rates = {name: flops / min(seconds[name]) for name in ("matmul", "torch_matmul")}
            setting["flops_per_second"] = rates
            append("gru_parts", {**where, **setting, "seconds": found, "ratio": ratio})


if __name__ == "__main__":
    restart_with_huge_pages()
    main()
