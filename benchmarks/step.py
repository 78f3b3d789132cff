"""A whole training step against the same network in PyTorch, on the same device.

    pip install -e ".[bench]"
    python benchmarks/step.py [--config FILE:MODEL] [--batch 256] [--repeats 10]
        [--torch_python PYTHON] [--write]

Both take a step of AdamW on one constant batch in the config's precision; ours also augments and
normalises it. Steps follow each other as in a training: the device is waited for at the end of a
row of five or more, before which is one that is not counted. The weights are copied across and the
outputs checked equal first. PyTorch runs channels-last with its fused optimizer, as it is and under
torch.compile; the faster counts. On a GPU cuDNN tunes itself and TF32 is off on both sides. Prints
seconds as min/median/max over interleaved repeats, and the same of PyTorch's over ours in each
round. Then each takes a row of steps in a fresh process, whose most memory is printed beside what
XLA plans for ours. --write appends a JSON line to results/benchmarks/step.jsonl.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from memory import planned_bytes
from peer import TorchPeer
from steady import STEPS, peak_resident_bytes
from timing import PLAIN_CONFIG, append, interleave, matmul_program, spread

from crnn_jax.flags import resolve_config
from crnn_jax.huge_pages import restart_with_huge_pages
from crnn_jax.models.trunk import layers_per_stage
from crnn_jax.train.experiment import Experiment, build
from crnn_jax.train.state import TrainState
from crnn_jax.train.step import make_train_step

IMAGE_SHAPE, NUM_CLASSES = (32, 32, 3), 10
NORM = {"mean_C": np.full(3, 120.0, np.float32), "std_C": np.full(3, 60.0, np.float32)}


def constant_batch(size: int, image_shape: tuple[int, ...] = IMAGE_SHAPE) -> dict[str, np.ndarray]:
    """Returns a batch of random images, all of weight 1."""
    index_B = np.arange(size, dtype=np.int32)
    images = np.random.default_rng(0).integers(0, 256, (size, *image_shape), np.uint8)
    return {
        "image": images, "label": index_B % NUM_CLASSES, "epoch_B": index_B,
        "example_B": index_B, "weight_B": np.ones(size, np.float32),
    }  # fmt: skip


def torch_arrays(params: Any) -> dict[str, Any]:
    """Returns our weights by the names and in the layouts of torch_peer.py's network."""
    arrays = {}
    names = sorted(name for name in params["trunk"] if name.startswith("conv_"))
    place = 0  # in PyTorch's sequence: pool, norm and ReLU follow a stage's first, two the others
    for name in names:
        kernel_HWIO = params["trunk"][name]["kernel"]
        arrays[f"trunk.{place}.weight"] = np.transpose(kernel_HWIO, (3, 2, 0, 1))
        place += 4 if name.endswith("_0") else 3
    arrays["head.weight"] = np.transpose(params["head"]["dense"]["kernel"])
    if "recurrent" in params:
        layer = params["recurrent"]["layer_0"]
        arrays["gru.weight_ih_l0"] = np.transpose(layer["kernel_x"])
        arrays["gru.weight_hh_l0"] = np.transpose(layer["kernel_h"])
    return arrays


def torch_setting(config: Any) -> dict[str, Any]:
    """Returns what torch_peer.py has to know of the config."""
    model, optim = config.model, config.optim
    network = {
        "in_channels": IMAGE_SHAPE[2],
        "height": IMAGE_SHAPE[0],
        "stage_channels": [round(model.width * m) for m in model.stage_multipliers],
        "layers_per_stage": layers_per_stage(model.num_conv_layers, len(model.stage_multipliers)),
        "hidden_units": model.hidden_units if model.name == "crnn" else 0,
        "num_classes": NUM_CLASSES,
    }
    adamw = {
        "lr": optim.learning_rate,
        "betas": (optim.b1, optim.b2),
        "weight_decay": optim.weight_decay,
    }
    return {
        "network": network,
        "adamw": adamw,
        "label_smoothing": optim.label_smoothing,
        "bfloat16": config.precision == "bfloat16",
    }


def jitted_step(experiment: Experiment) -> Any:
    """Returns the training step on a given batch, not compiled yet."""
    step = make_train_step(
        experiment.model,
        experiment.task,
        experiment.optimizer,
        lambda inputs, step: inputs,
        ema_decay=0.0,
    )
    return jax.jit(step, donate_argnums=0, compiler_options=experiment.compiler_options)


def our_step(
    experiment: Experiment, state: TrainState, batch: Any
) -> tuple[Callable[[], None], Callable[[], Any]]:
    """Returns (one call = one step of ours, a call that waits for the last step)."""
    step = jitted_step(experiment)
    held, totals = [state], experiment.task.empty()

    def run() -> None:
        held[0], _ = step(held[0], totals, batch)

    return run, lambda: jax.block_until_ready(held[0])


def our_memory(experiment: Experiment, batch: Any) -> dict[str, int]:
    """Returns {"plan", "ours"}, bytes: what XLA plans for a step, and this process's most memory.

    On a GPU it is what arrays had; else what was resident, compilation and Python included.
    """
    state = experiment.init_state(NORM)
    run, finish = our_step(experiment, state, batch)
    for _ in range(STEPS):
        run()
    finish()
    device = jax.local_devices()[0].memory_stats()
    peak = device["peak_bytes_in_use"] if device else peak_resident_bytes()
    # Not before: it compiles once more.
    arguments = experiment.init_state(NORM), experiment.task.empty(), batch
    compiled = jitted_step(experiment).lower(*arguments).compile()
    return {"plan": planned_bytes(compiled), "ours": peak}


def memory_of_each(
    config: str, batch: int, torch_python: str, arrays: dict[str, Any], setting: dict[str, Any]
) -> dict[str, int]:
    """Returns the bytes of `our_memory` and of PyTorch's programs, each in a process of its own."""
    command = [sys.executable, __file__, "--child", f"--config={config}", f"--batch={batch}"]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(out.splitlines()[-1])
    for name in ("torch_eager", "torch_compile"):
        peer = TorchPeer(torch_python)
        peer.make("step", arrays, setting)[1][name]()
        found[name] = peer.peak_bytes
        peer.close()
    return found


def compare(flags: argparse.Namespace, config: Any, experiment: Experiment, batch: Any) -> None:
    """Checks that both networks are one, times their steps and prints the ratio."""
    state = experiment.init_state(NORM)
    peer, setting = TorchPeer(flags.torch_python), torch_setting(config)
    normalised = (np.asarray(batch["image"], np.float32) - NORM["mean_C"]) / NORM["std_C"]
    label_B = np.asarray(batch["label"])
    arrays = {"image_BHWC": normalised, "label_B": label_B, **torch_arrays(state.params)}
    expected, peer_programs = peer.make("step", arrays, setting)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    prepared, _ = experiment.task.prepare(batch, state.norm, state.seed, train=False)
    output: Any = experiment.model.apply(variables, prepared, train=False)
    error = np.abs(np.asarray(output.logits_BK) - expected).max() / np.abs(expected).max()
    limit = 5e-2 if config.precision == "bfloat16" else 1e-4
    if not error < limit:
        raise SystemExit(f"the networks differ: {error:.1e} of the largest score, over {limit}")
    print(f"outputs agree to {error:.1e} of the largest score")

    ours, finish = our_step(experiment, state, batch)
    programs = {"ours": ours, **peer_programs}
    with ThreadPoolExecutor(2) as pool:  # both sides compile at the same time
        list(pool.map(lambda name: programs[name](), ("ours", "torch_compile")))
    matmul, matmul_flops = matmul_program(config.precision)
    seconds = interleave({**programs, "matmul": matmul}, flags.repeats, finish, STEPS)
    found = {name: spread(times) for name, times in seconds.items()}
    best = min(("torch_eager", "torch_compile"), key=lambda name: found[name][1])
    # A ratio compares the runs of one round: a machine's speed drifts by more than is looked for.
    pairs = zip(seconds[best], seconds["ours"], strict=True)
    ratios = spread([theirs / ours for theirs, ours in pairs])
    peak = matmul_flops / found.pop("matmul")[0]
    # Forward, and twice as much backward, at the rate of the best matmul: no step of XLA's that
    # multiplies as often as this network says can be faster.
    floor = 3 * flags.batch * experiment.describe()["flops_per_image"] / peak
    print(f"{'floor':14} {floor:.4f} s at this device's matmul rate, {peak / 1e9:,.0f} GFLOP/s")
    for name, (low, median, high) in found.items():
        rate = flags.batch / median
        print(f"{name:14} {low:.4f}/{median:.4f}/{high:.4f} s  {rate:,.0f} images/s")
    low, median, high = ratios
    print(f"{best} / ours {low:.2f}/{median:.2f}/{high:.2f}, PyTorch {peer.version}")
    peer.close()
    memory = memory_of_each(flags.config, flags.batch, flags.torch_python, arrays, setting)
    for name, size in memory.items():
        print(f"{name:14} {size / 1e9:.2f} GB")
    if flags.write:
        record = {"config": flags.config, "batch": flags.batch, "precision": config.precision}
        record = {**record, "repeats": flags.repeats, "torch": peer.version}
        record |= {"unit": "seconds [min, median, max]", "matmul_flops_per_second": peak}
        record |= {"memory_bytes": memory, "floor_seconds": floor, "ratios": ratios}
        append("step", {**record, **found})


def main() -> None:
    """Compares the steps; in a process of its own, measures our memory alone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default=PLAIN_CONFIG)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--torch_python", default=sys.executable, help="that has PyTorch")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    parser.add_argument("--child", action="store_true", help="measure our memory alone")
    flags = parser.parse_args()
    config = resolve_config(flags.config, {"mesh.data": "1", "batch_size": str(flags.batch)})
    experiment = build(config, IMAGE_SHAPE, NUM_CLASSES, 50_000)
    config = experiment.config
    batch = jax.tree.map(jnp.asarray, constant_batch(flags.batch))
    if flags.child:
        print(json.dumps(our_memory(experiment, batch)))
    else:
        compare(flags, config, experiment, batch)


if __name__ == "__main__":
    restart_with_huge_pages()  # as crnn_jax.main does; PyTorch's process inherits it
    main()
