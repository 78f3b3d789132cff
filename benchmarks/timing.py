"""Records that say what they were measured on, and the timing that all benchmarks share."""

import functools
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from steady import matmul_side, steady_seconds

from crnn_jax import timing
from crnn_jax.compiler import compiler_options
from crnn_jax.provenance import describe_devices, git_commit, versions
from crnn_jax.timing import compare as compare
from crnn_jax.timing import per_call as per_call
from crnn_jax.timing import spread as spread

# Elsewhere for a round of many: a changed file under results/ would make the next record "dirty".
RESULTS = pathlib.Path(
    os.environ.get("BENCHMARK_RESULTS")
    or pathlib.Path(__file__).parent.parent / "results" / "benchmarks"
)

# A CRNN for a CPU without what only short trainings want: the network of PyTorch's side.
PLAIN_CONFIG = "configs/cifar10.py:crnn_small,recipe=adamw,model.width=32,precision=float32"

# Between two programs: the threads of OpenMP (PyTorch's) spin for up to 0.2 s after their work, on
# the cores that the next program is measured on.
PAUSE_SECONDS = 0.2 if jax.default_backend() == "cpu" else 0.0


def interleave(
    programs: dict[str, Callable[[], Any]],
    repeats: int,
    finish: Callable[[], Any] = lambda: None,
    least: int = 1,
) -> dict[str, list[float]]:
    """Returns `crnn_jax.timing.interleave` of steady calls, with a pause before each program.

    `finish` waits for the work of those that return before it is done; `least` as `steady_seconds`
    has it.
    """
    turns = {
        name: functools.partial(steady_seconds, program, finish, least)
        for name, program in programs.items()
    }
    return timing.interleave(turns, repeats, pause_seconds=PAUSE_SECONDS)


def matmul_program(dtype: Any) -> tuple[Callable[[], Any], int]:
    """Returns (a call that multiplies two large square matrices, its FLOPs): the device's peak."""
    size = matmul_side(jax.default_backend())
    # Random numbers: a GPU multiplies ones faster than what occurs.
    square = jax.random.normal(jax.random.key(0), (size, size), dtype)
    # On a CPU float32's fastest product is Eigen's, bfloat16's that of the libraries that know it.
    options = compiler_options(onednn=jnp.dtype(dtype) == jnp.bfloat16)
    matmul = jax.jit(jnp.dot, compiler_options=options)
    return lambda: jax.block_until_ready(matmul(square, square)), 2 * size**3


def append(name: str, record: dict[str, Any]) -> None:
    """Appends one line to results/benchmarks/NAME.jsonl: the record, time, commit and machine."""
    where = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "git_commit": git_commit(),
        "devices": describe_devices(),
        "versions": versions(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps({**where, **record}) + "\n")
