"""A GRU layer of ours against Flax's and PyTorch's, over sequence length, width and batch.

    pip install -e ".[bench]"
    python benchmarks/gru.py [--steps 8 16 49 64 196] [--units 128 256 512] [--batch 128 1024]
        [--dtype float32] [--repeats 5] [--write]

The input is as wide as the state (D = N). All run on the same device in the same precision (TF32
off); the outputs are checked equal first. Prints milliseconds (median) of a forward pass and of a
forward and backward pass, interleaved, and the best peer's median over our best implementation's.
--write appends a JSON line a shape to results/benchmarks/gru.jsonl.
"""

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from flax import linen as nn
from timing import append, interleave, spread

from crnn_jax.models.recurrent import Recurrent

PEERS = ("flax", "torch")


def jax_programs(model: Any, variables: Any, feature_BTD: jax.Array) -> list[Callable[[], Any]]:
    """Returns [forward, forward and backward] of a module, each a call that ends when done."""

    def states(variables: Any, feature_BTD: jax.Array) -> jax.Array:
        output = model.apply(variables, feature_BTD)
        return output[0] if isinstance(output, tuple) else output

    def loss(variables: Any, feature_BTD: jax.Array) -> jax.Array:
        return jnp.sum(states(variables, feature_BTD).astype(jnp.float32) ** 2)

    forward, both = jax.jit(states), jax.jit(jax.value_and_grad(loss, (0, 1)))
    return [
        lambda: jax.block_until_ready(forward(variables, feature_BTD)),
        lambda: jax.block_until_ready(both(variables, feature_BTD)),
    ]


def torch_programs(layer: Any, feature: Any) -> list[Callable[[], Any]]:
    """Returns [forward, forward and backward] of PyTorch's layer."""
    synchronize = torch.cuda.synchronize if feature.is_cuda else lambda: None

    def forward() -> Any:
        with torch.no_grad():
            states = layer(feature)[0]
        synchronize()
        return states

    def both() -> None:
        layer.zero_grad(set_to_none=True)
        feature.grad = None
        layer(feature)[0].float().square().sum().backward()
        synchronize()

    return [forward, both]


def make_torch_layer(params: Any, units: int, dtype: str) -> Any:
    """Returns PyTorch's GRU with our weights; both order the gates r, z, n."""
    layer = torch.nn.GRU(units, units, batch_first=True)
    bias_h = np.concatenate([np.zeros(2 * units, np.float32), params["bias_h"]])
    values = {
        "weight_ih_l0": params["kernel_x"].T, "weight_hh_l0": params["kernel_h"].T,
        "bias_ih_l0": params["bias"], "bias_hh_l0": bias_h,
    }  # fmt: skip
    with torch.no_grad():
        for name, value in values.items():
            getattr(layer, name).copy_(torch.tensor(np.array(value)))
    return layer.to("cuda" if torch.cuda.is_available() else "cpu", getattr(torch, dtype))


def measure(steps: int, units: int, batch: int, dtype: str, repeats: int) -> dict[str, Any]:
    """Returns {"forward" and "both": {program: seconds [min, median, max]}} at one shape."""
    noise = np.random.default_rng(0).normal(size=(batch, steps, units))
    feature_BTD = jnp.asarray(noise, dtype)
    ours = {
        how: Recurrent("gru", units, 1, False, how, jnp.dtype(dtype)) for how in ("scan", "hoisted")
    }
    variables = jax.jit(ours["scan"].init)(jax.random.key(0), feature_BTD[:1])
    layer = make_torch_layer(jax.device_get(variables["params"]["layer_0"]), units, dtype)
    device = next(layer.parameters()).device
    feature = torch.tensor(noise, dtype=getattr(torch, dtype), device=device, requires_grad=True)
    programs = {how: jax_programs(model, variables, feature_BTD) for how, model in ours.items()}
    peer = nn.RNN(nn.GRUCell(units, dtype=jnp.dtype(dtype)))
    peer_variables = jax.jit(peer.init)(jax.random.key(0), feature_BTD[:1])
    programs["flax"] = jax_programs(peer, peer_variables, feature_BTD)
    programs["torch"] = torch_programs(layer, feature)

    expected = programs["torch"][0]().float().cpu().numpy()
    limit = 1e-4 if dtype == "float32" else 5e-2
    for how in ours:
        error = np.abs(np.asarray(programs[how][0](), np.float32) - expected).max()
        if not error < limit:
            raise SystemExit(f"{how} differs from PyTorch by {error:.1e}, over {limit}")
    return {
        name: {
            key: spread(seconds)
            for key, seconds in interleave({k: p[i] for k, p in programs.items()}, repeats).items()
        }
        for i, name in enumerate(("forward", "both"))
    }


def main() -> None:
    """Measures every shape, prints the table and appends it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, nargs="*", default=[8, 16, 49, 64, 196])
    parser.add_argument("--units", type=int, nargs="*", default=[128, 256, 512])
    parser.add_argument("--batch", type=int, nargs="*", default=[128, 1024])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    ratios = []
    for steps, units, batch in itertools.product(flags.steps, flags.units, flags.batch):
        found = measure(steps, units, batch, flags.dtype, flags.repeats)
        ratio = {}
        for name, times in found.items():
            best = min(seconds[1] for key, seconds in times.items() if key not in PEERS)
            ratio[name] = min(times[peer][1] for peer in PEERS) / best
        cells = [
            f"{name}: " + " ".join(f"{key} {1e3 * s[1]:.1f}" for key, s in times.items())
            for name, times in found.items()
        ]
        head = f"T={steps} N={units} B={batch}"
        print(f"{head:20}", *cells, f"x{ratio['forward']:.2f} x{ratio['both']:.2f}", flush=True)
        ratios.append(ratio["both"])
        if flags.write:
            shape = {"steps": steps, "units": units, "batch": batch, "dtype": flags.dtype}
            unit = {"unit": "seconds [min, median, max]", "torch": torch.__version__}
            append("gru", {**shape, **unit, **found, "ratio": ratio})
    low, median, high = spread(ratios)
    print(f"forward and backward: {low:.2f}/{median:.2f}/{high:.2f} times the best peer")


if __name__ == "__main__":
    main()
