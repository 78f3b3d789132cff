"""A GRU layer of ours against Flax's and PyTorch's, over sequence length, width and batch.

    pip install -e ".[bench]"
    python benchmarks/gru.py [--steps 8 16 49 64 196] [--units 128 256 512] [--batch 128 1024]
        [--cell gru] [--dtype float32] [--ours scan hoisted] [--peers flax torch] [--repeats 5]
        [--torch_python PYTHON] [--write]
    python benchmarks/gru.py --table        # MEASURED of models/recurrent/fastest.py, from the file

The input is as wide as the state (D = N). All run on the same device in the same precision (TF32
off), in huge pages as a training does; the outputs are checked equal first. Prints milliseconds
(median) of a forward pass and of a forward and backward pass of each implementation, interleaved,
and the best peer's median over our best implementation's. A cell other than the GRU has no peers.
All shapes' programs are compiled first.
--write appends a JSON line a shape to results/benchmarks/gru.jsonl, with the bytes that XLA takes
for the forward and backward pass beside its inputs and outputs.
"""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from peer import TorchPeer
from timing import RESULTS, append, interleave, matmul_program, spread

from crnn_jax.compiler import compiler_options
from crnn_jax.huge_pages import restart_with_huge_pages
from crnn_jax.models.recurrent import Recurrent
from crnn_jax.models.recurrent.cells import CELLS

PEERS = ("flax", "torch")
PASSES = ("forward", "both")


class Compiled:
    """A layer's forward pass, and its forward and backward pass, at one shape."""

    def __init__(self, model: Any, shape: tuple[int, int, int], dtype: str) -> None:
        steps, units, batch = shape
        feature_BTD = jax.ShapeDtypeStruct((batch, steps, units), dtype)
        variables = jax.eval_shape(model.init, jax.random.key(0), feature_BTD)
        options = compiler_options(onednn=False)

        def states(variables: Any, feature_BTD: jax.Array) -> jax.Array:
            output = model.apply(variables, feature_BTD)
            return output[0] if isinstance(output, tuple) else output

        def pull_back(variables: Any, feature_BTD: jax.Array, grad_BTN: jax.Array) -> Any:
            return jax.vjp(states, variables, feature_BTD)[1](grad_BTN)

        self.output = jax.eval_shape(states, variables, feature_BTD)
        forward = jax.jit(states, compiler_options=options).lower(variables, feature_BTD)
        both = jax.jit(pull_back, compiler_options=options)
        self._forward = forward.compile()
        self._both = both.lower(variables, feature_BTD, self.output).compile()
        memory = self._both.memory_analysis()
        self.temporary_bytes = memory and memory.temp_size_in_bytes

    def programs(self, variables: Any, feature_BTD: jax.Array) -> dict[str, Callable]:
        """Returns {"forward", "both"}, each a call that ends when done."""
        grad_BTN = jax.random.normal(jax.random.key(1), self.output.shape, self.output.dtype)
        return {
            "forward": lambda: jax.block_until_ready(self._forward(variables, feature_BTD)),
            "both": lambda: jax.block_until_ready(self._both(variables, feature_BTD, grad_BTN)),
        }


def compile_all(
    flags: argparse.Namespace, shapes: list[tuple[int, int, int]]
) -> dict[tuple[str, tuple[int, int, int]], Future[Compiled]]:
    """Returns the programs of each layer, ours and Flax's, at each shape, as they are compiled."""
    workers = min(12, os.cpu_count() or 1) if jax.default_backend() == "gpu" else 1
    pool = ThreadPoolExecutor(workers)
    made = {}
    for shape, name in itertools.product(shapes, [*flags.ours, *flags.peers]):
        if name != "torch":
            model = layer_of(name, flags.cell, shape[1], flags.dtype)
            made[name, shape] = pool.submit(Compiled, model, shape, flags.dtype)
    return made


def layer_of(name: str, cell: str, units: int, dtype: str) -> Any:
    """Returns our layer in the implementation `name`, or Flax's."""
    if name == "flax":
        return nn.RNN(nn.GRUCell(units, dtype=jnp.dtype(dtype)))
    return Recurrent(cell, units, 1, False, name, False, jnp.dtype(dtype))


def torch_arrays(params: Any, feature: np.ndarray) -> dict[str, Any]:
    """Returns our weights by PyTorch's names; both order the gates r, z, n."""
    units = params["bias_h"].size
    return {
        "feature_BTD": feature,
        "weight_ih_l0": params["kernel_x"].T,
        "weight_hh_l0": params["kernel_h"].T,
        "bias_ih_l0": params["bias"],
        "bias_hh_l0": np.concatenate([np.zeros(2 * units, np.float32), params["bias_h"]]),
    }


def make_programs(
    cell: str,
    dtype: str,
    shape: tuple[int, int, int],
    compiled: dict[str, Compiled],
    peer: TorchPeer | None,
) -> dict[str, dict[str, Callable]]:
    """Returns {implementation or peer: its two programs} at (T, N, B), checked to be equal."""
    steps, units, batch = shape
    noise = np.random.default_rng(0).standard_normal((batch, steps, units), np.float32)
    feature_BTD = jnp.asarray(noise, dtype)
    variables = {
        name: jax.jit(layer_of(name, cell, units, dtype).init)(jax.random.key(0), feature_BTD[:1])
        for name in {"hoisted", *compiled} & {"hoisted", "flax"}
    }
    programs = {
        name: made.programs(variables.get(name, variables["hoisted"]), feature_BTD)
        for name, made in compiled.items()
    }
    ours = [name for name in compiled if name not in PEERS]
    expected = np.asarray(programs[ours[0]]["forward"](), np.float32)
    if peer is not None:
        weights = jax.device_get(variables["hoisted"]["params"]["layer_0"])
        setting = {"units": units, "dtype": dtype}
        expected, programs["torch"] = peer.make("gru", torch_arrays(weights, noise), setting)
    limit = 1e-5 if dtype == "float32" else 2e-2
    for name in ours:
        found = np.asarray(programs[name]["forward"](), np.float32)
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        if not error < limit:
            raise SystemExit(f"{name} differs by {error:.1e} of the states' norm, over {limit}")
    return programs


def measure(
    programs: dict[str, dict[str, Callable]], repeats: int, flops: int, dtype: str
) -> dict[str, Any]:
    """Returns {"forward" and "both": {program: seconds [min, median, max]}, "ratio": ...}.

    "ratio" holds, for each peer, its seconds over ours in each round, [min, median, max]: ours is
    the implementation with the best median, and a machine's speed drifts by more than is looked
    for. "floor" are the seconds that the matmuls' `flops` of a forward pass, and of both, take at
    the rate of a large matmul measured among the programs.
    """
    found: dict[str, Any] = {"ratio": {}, "floor": {}}
    matmul, matmul_flops = matmul_program(dtype)
    for name in PASSES:
        passes = {key: made[name] for key, made in programs.items()}
        seconds = interleave({**passes, "matmul": matmul}, repeats)
        fastest = min(seconds.pop("matmul"))
        found["floor"][name] = fastest * flops * (1 if name == "forward" else 3) / matmul_flops
        found[name] = {key: spread(times) for key, times in seconds.items()}
        ours = [key for key in seconds if key not in PEERS]
        best = seconds[min(ours, key=lambda key: found[name][key][1])]
        found["ratio"][name] = {
            key: spread([theirs / own for theirs, own in zip(seconds[key], best, strict=True)])
            for key in PEERS if key in seconds
        }  # fmt: skip
    return found


def implementations(cell: str) -> list[str]:
    """Returns all implementations that a cell has on this device."""
    fused = jax.default_backend() == "gpu" and cell == "gru"
    parallel = CELLS[cell].parallel is not None
    return ["scan", "hoisted"] + ["associative"] * parallel + ["fused"] * fused


def print_table() -> None:
    """Prints the fastest implementation, forward and backward, at each shape; the last line's."""
    best = {}
    for text in (RESULTS / "gru.jsonl").read_text().splitlines():
        line = json.loads(text)
        times = {key: t[1] for key, t in line["both"].items() if key not in PEERS}
        shape = (line["steps"], line["units"], line["batch"])
        where = (line["backend"], line["cell"], line["dtype"], shape)
        best[where] = min(times, key=times.__getitem__)
    for where, name in best.items():
        print(*where, name)


def main() -> None:
    """Measures every shape, prints the table and appends it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, nargs="*", default=[8, 16, 49, 64, 196])
    parser.add_argument("--units", type=int, nargs="*", default=[128, 256, 512])
    parser.add_argument("--batch", type=int, nargs="*", default=[128, 1024])
    parser.add_argument("--cell", default="gru", choices=CELLS)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--ours", nargs="*", help="implementations: all but 'fused' on a CPU")
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--torch_python", default=sys.executable, help="that has PyTorch")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    parser.add_argument("--table", action="store_true", help="print the fastest of each shape")
    flags = parser.parse_args()
    if flags.table:
        return print_table()
    if flags.cell != "gru":
        flags.peers = ()
    flags.ours = flags.ours or implementations(flags.cell)
    peer = TorchPeer(flags.torch_python) if "torch" in flags.peers else None
    ratios = []
    shapes = list(itertools.product(flags.steps, flags.units, flags.batch))
    compiling = compile_all(flags, shapes)
    wait(compiling.values())  # what compiles would disturb what is measured
    for shape in shapes:
        gates = CELLS[flags.cell].num_gates
        flops = 2 * shape[0] * shape[2] * 2 * shape[1] * gates * shape[1]  # both projections
        names = [name for name, of in compiling if of == shape]
        compiled = {name: compiling.pop((name, shape)).result() for name in names}
        programs = make_programs(flags.cell, flags.dtype, shape, compiled, peer)
        found = measure(programs, flags.repeats, flops, flags.dtype)
        cells = [
            f"{name}: " + " ".join(f"{key} {1e3 * s[1]:.1f}" for key, s in found[name].items())
            for name in PASSES
        ]
        factors = [
            f"{key} / ours " + "/".join(f"{ratio:.2f}" for ratio in of)
            for key, of in found["ratio"]["both"].items()
        ]
        print(f"T={shape[0]} N={shape[1]} B={shape[2]:<5}", *cells, *factors, flush=True)
        ratios += [of[1] for key, of in found["ratio"]["both"].items() if key == "torch"]
        if flags.write:
            where = dict(zip(("steps", "units", "batch"), shape, strict=True))
            setting = {"cell": flags.cell, "dtype": flags.dtype, "repeats": flags.repeats}
            setting |= {"backend": jax.default_backend(), "torch": peer and peer.version}
            setting |= {"xla_flags": os.environ.get("XLA_FLAGS", "")}
            setting["temporary_bytes"] = {key: of.temporary_bytes for key, of in compiled.items()}
            append("gru", {**where, **setting, "unit": "seconds [min, median, max]", **found})
    if ratios:
        low, median, high = spread(ratios)
        print(f"forward and backward, PyTorch / ours: {low:.2f}/{median:.2f}/{high:.2f}")


if __name__ == "__main__":
    restart_with_huge_pages()
    main()
