"""Sequencer2D against timm's on the same device: a forward pass, and a training step.

    pip install -e ".[bench]"
    python benchmarks/sequencer.py [--model sequencer2d_s] [--image 224] [--batch 16] [--repeats 10]
        [--precision float32] [--torch_python PYTHON] [--write]

Both have the same random weights under timm's names, which crnn_jax.convert turns into ours, and
one constant batch; the scores are checked equal first. A step is one of AdamW without dropout,
stochastic depth, clipping or average. PyTorch runs with its fused optimizer, as it is and under
torch.compile; the faster counts. Steps follow each other as in a training (benchmarks/step.py).
Prints seconds as min/median/max over interleaved repeats, and the same of PyTorch's over ours in
each round. --write appends a JSON line to results/benchmarks/sequencer.jsonl.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from peer import TorchPeer
from steady import STEPS
from step import NORM, constant_batch, our_step
from timing import append, interleave, spread

from crnn_jax.convert import from_timm, model_keys, timm_parts
from crnn_jax.flags import resolve_config
from crnn_jax.huge_pages import restart_with_huge_pages
from crnn_jax.train.experiment import Experiment, build
from crnn_jax.weight_files import nested_arrays

NUM_CLASSES = 1000
PLAIN = {
    "data.mixup": "0.0",
    "data.cutmix": "0.0",
    "data.flip": "none",
    "eval.weights": "last",
    "mesh.data": "1",
    "model.stochastic_depth": "0.0",
    "optim.clip_norm": "0.0",
    "optim.ema_decay": "0.0",
    "optim.schedule": "constant",
    "optim.warmup": "0 steps",
}


def random_weights(name: str) -> dict[str, np.ndarray]:
    """Returns arrays under timm's names; what a layer adds is about as large as what it reads."""
    random = np.random.default_rng(0)
    return {
        key: (
            random.normal(size=part.shape) / np.sqrt(max(1, np.prod(part.shape[1:])))
        ).astype(np.float32)
        for part in timm_parts(model_keys(name), NUM_CLASSES)
        for key in part.theirs
    }  # fmt: skip


def our_programs(
    experiment: Experiment, params: Any, batch: dict[str, np.ndarray]
) -> tuple[jax.Array, dict[str, Callable[[], Any]], Callable[[], Any]]:
    """Returns (class scores, {"forward", "step"}, a call that waits for the last step)."""
    state = dataclasses.replace(experiment.init_state(NORM), params=params)
    on_device = jax.tree.map(jnp.asarray, batch)
    prepared, _ = experiment.task.prepare(on_device, state.norm, state.seed, train=False)
    variables = {"params": jax.tree.map(jnp.copy, params)}  # the state's are given away by a step

    @jax.jit
    def scores(variables: Any, pixels: jax.Array) -> jax.Array:
        output: Any = experiment.model.apply(variables, pixels, train=False)
        return output.logits_BK

    def forward() -> None:
        jax.block_until_ready(scores(variables, prepared))

    step, finish = our_step(experiment, state, on_device)
    return scores(variables, prepared), {"forward": forward, "step": step}, finish


def compare(
    name: str, ours: Any, finish: Any, peer_programs: dict[str, Any], flags: argparse.Namespace
) -> dict[str, Any]:
    """Times one kind of program, prints the rates and returns them with the ratios."""
    theirs = {key.partition("/")[2]: peer_programs[key] for key in peer_programs if name in key}
    seconds = interleave({"ours": ours, **theirs}, flags.repeats, finish, STEPS)
    found = {program: spread(times) for program, times in seconds.items()}
    best = min(theirs, key=lambda program: found[program][1])
    # A ratio compares the runs of one round: a machine's speed drifts by more than is looked for.
    pairs = zip(seconds[best], seconds["ours"], strict=True)
    ratios = spread([other / own for other, own in pairs])
    for program, (low, median, high) in found.items():
        rate = flags.batch / median
        print(f"{name} {program:14} {low:.4f}/{median:.4f}/{high:.4f} s  {rate:,.1f} images/s")
    low, median, high = ratios
    print(f"{name} {best} / ours {low:.2f}/{median:.2f}/{high:.2f}")
    return {**found, "ratios": ratios}


def main() -> None:
    """Checks that both networks are one, times them and prints the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="sequencer2d_s", help="or sequencer2d_m, sequencer2d_l")
    parser.add_argument("--image", type=int, default=224, help="side, pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--torch_python", default=sys.executable, help="that has PyTorch and timm")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    overrides = {**PLAIN, "batch_size": str(flags.batch), "precision": flags.precision}
    preset = flags.model.replace("sequencer2d", "configs/imagenet.py:sequencer")
    config = resolve_config(preset, overrides)
    shape = (flags.image, flags.image, 3)
    experiment = build(config, shape, NUM_CLASSES, 1_281_167)

    batch, weights = constant_batch(flags.batch, shape), random_weights(flags.model)
    converted = from_timm(weights, model_keys(flags.model), flags.model)
    params = jax.tree.map(jnp.asarray, nested_arrays(converted.arrays)["params"])
    scores, programs, finish = our_programs(experiment, params, batch)
    normalised = (batch["image"].astype(np.float32) - NORM["mean_C"]) / NORM["std_C"]
    optim, setting = config.optim, {"bfloat16": config.precision == "bfloat16"}
    adamw = {"lr": optim.learning_rate, "weight_decay": optim.weight_decay}
    setting |= {"model": flags.model, "adamw": {**adamw, "betas": (optim.b1, optim.b2)}}
    setting |= {"label_smoothing": optim.label_smoothing}
    peer = TorchPeer(flags.torch_python)
    arrays = {"image_BHWC": normalised, "label_B": batch["label"], **weights}
    expected, peer_programs = peer.make("sequencer", arrays, setting)
    error = np.abs(np.asarray(scores) - expected).max() / np.abs(expected).max()
    limit = 5e-2 if flags.precision == "bfloat16" else 1e-4
    if not error < limit:
        raise SystemExit(f"the networks differ: {error:.1e} of the largest score, over {limit}")
    print(f"scores agree to {error:.1e} of the largest")

    found = {
        name: compare(name, programs[name], finish, peer_programs, flags)
        for name in ("forward", "step")
    }
    if flags.write:
        record = {**vars(flags), "torch": peer.version, "unit": "seconds [min, median, max]"}
        del record["torch_python"], record["write"]
        append("sequencer", {**record, **found})


if __name__ == "__main__":
    restart_with_huge_pages()  # as crnn_jax.main does; PyTorch's process inherits it
    main()
