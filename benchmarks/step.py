"""A whole training step against the same network in PyTorch, on the same device.

    pip install -e ".[bench]"
    python benchmarks/step.py [--config configs/cifar10.py:crnn_small] [--batch 256] [--repeats 10]
        [--write]

Both take a step of AdamW on one constant batch in the config's precision; ours also augments and
normalises it. The weights are copied across and the outputs checked equal first. PyTorch runs
channels-last with its fused optimizer, as it is and under torch.compile; the faster counts. On a
GPU cuDNN tunes itself and TF32 is off on both sides. Prints seconds as min/median/max over
interleaved repeats, and PyTorch's median over ours. --write appends a JSON line to
results/benchmarks/step.jsonl.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from timing import append, interleave, spread
from torch import nn  # pyright: ignore[reportMissingImports]

from crnn_jax.flags import resolve_config
from crnn_jax.metrics import Classification as Metrics
from crnn_jax.models.cnn import layers_per_stage
from crnn_jax.train.experiment import Experiment, build
from crnn_jax.train.state import TrainState
from crnn_jax.train.step import make_train_step

IMAGE_SHAPE, NUM_CLASSES = (32, 32, 3), 10


class Network(nn.Module):
    """The CNN or the CRNN (rows, one GRU layer) of `model`, the config's `model`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        layers: list[Any] = []
        channels, side = IMAGE_SHAPE[2], IMAGE_SHAPE[0]
        counts = layers_per_stage(model.num_conv_layers, len(model.stage_multipliers))
        for multiplier, count in zip(model.stage_multipliers, counts, strict=True):
            for layer in range(count):
                out = round(model.width * multiplier)
                layers.append(nn.Conv2d(channels, out, 3, padding=1, bias=False))
                layers += [nn.MaxPool2d(2)] if layer == 0 else []
                layers += [nn.BatchNorm2d(out), nn.ReLU()]
                channels = out
            side //= 2
        self.trunk = nn.Sequential(*layers)
        self.gru = None
        if model.name == "crnn":
            self.gru = nn.GRU(side * channels, model.hidden_units, batch_first=True)
            channels = model.hidden_units
        self.head = nn.Linear(channels, NUM_CLASSES)

    def forward(self, image: Any) -> Any:
        """Returns the class scores of images (B, C, H, W)."""
        feature_map = self.trunk(image)
        if self.gru is None:
            return self.head(feature_map.mean((2, 3)))
        rows = feature_map.permute(0, 2, 3, 1).flatten(2)  # (B, H, W * C), as ours
        return self.head(self.gru(rows)[0][:, -1])


def copy_weights(network: Network, params: Any) -> None:
    """Sets the network's weights to ours."""

    def put(target: Any, value: Any) -> None:
        target.copy_(torch.tensor(np.asarray(value)))

    with torch.no_grad():
        convs = [m for m in network.trunk if isinstance(m, nn.Conv2d)]
        names = sorted(name for name in params["trunk"] if name.startswith("conv_"))
        for conv, name in zip(convs, names, strict=True):
            put(conv.weight, np.transpose(params["trunk"][name]["kernel"], (3, 2, 0, 1)))
        put(network.head.weight, np.transpose(params["head"]["dense"]["kernel"]))
        if network.gru is not None:
            layer = params["recurrent"]["layer_0"]
            put(network.gru.weight_ih_l0, np.transpose(layer["kernel_x"]))
            put(network.gru.weight_hh_l0, np.transpose(layer["kernel_h"]))
            for bias in (network.gru.bias_ih_l0, network.gru.bias_hh_l0, network.head.bias):
                bias.zero_()  # ours start at zero


def our_step(experiment: Experiment, state: TrainState, batch: Any) -> Callable[[], Any]:
    """Returns one call = one finished step of ours."""
    step_fn = make_train_step(
        experiment.model,
        experiment.task,
        experiment.optimizer,
        lambda inputs, step: inputs,
        ema_decay=0.0,
    )
    step = jax.jit(step_fn, donate_argnums=0)
    held = [state]

    def run() -> None:
        held[0], _ = step(held[0], Metrics.empty(), batch)
        jax.block_until_ready(held[0])

    return run


def torch_step(
    network: Any, config: Any, image: Any, label: Any, *, compiled: bool
) -> Callable[[], Any]:
    """Returns one call = one finished step of PyTorch."""
    optim = config.optim
    optimizer = torch.optim.AdamW(
        network.parameters(), optim.learning_rate, (optim.b1, optim.b2),
        weight_decay=optim.weight_decay, fused=True,
    )  # fmt: skip
    low = config.precision == "bfloat16"

    def loss_fn() -> Any:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=low):
            scores = network(image)
        return nn.functional.cross_entropy(
            scores.float(), label, label_smoothing=optim.label_smoothing
        )

    loss_fn = torch.compile(loss_fn) if compiled else loss_fn

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_fn().backward()
        optimizer.step()
        if image.is_cuda:
            torch.cuda.synchronize()

    return run


def main() -> None:
    """Checks that both networks are one, times their steps and prints the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default="configs/cifar10.py:crnn_small")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    config = resolve_config(flags.config, {"mesh.data": "1", "batch_size": str(flags.batch)})
    experiment = build(config, IMAGE_SHAPE, NUM_CLASSES, 50_000)
    state = experiment.init_state({"mean_C": np.full(3, 120.0), "std_C": np.full(3, 60.0)})
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    image_BHWC = np.random.default_rng(0).integers(0, 256, (flags.batch, *IMAGE_SHAPE), np.uint8)
    label_B = np.arange(flags.batch) % NUM_CLASSES
    index_B = np.arange(flags.batch, dtype=np.int32)
    batch = {
        "image_BHWC": image_BHWC, "label_B": label_B.astype(np.int32), "epoch_B": index_B,
        "example_B": index_B, "weight_B": np.ones(flags.batch, np.float32),
    }  # fmt: skip
    batch = jax.tree.map(jnp.asarray, batch)

    normalised = torch.tensor((image_BHWC.astype(np.float32) - 120) / 60).permute(0, 3, 1, 2)
    image = normalised.to(device, memory_format=torch.channels_last)
    network = Network(config.model).to(device, memory_format=torch.channels_last)
    copy_weights(network, jax.device_get(state.params))
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    prepared = experiment.task.image(batch, state.norm, state.seed, train=False)
    output: Any = experiment.model.apply(variables, prepared, train=False)
    with torch.no_grad():
        expected = network.eval()(image).cpu().numpy()
    error = np.abs(np.asarray(output.logits_BK) - expected).max() / np.abs(expected).max()
    limit = 5e-2 if config.precision == "bfloat16" else 1e-4
    if not error < limit:
        raise SystemExit(f"the networks differ: {error:.1e} of the largest score, over {limit}")
    print(f"outputs agree to {error:.1e} of the largest score")

    network.train()
    label = torch.tensor(label_B).to(device)
    seconds = interleave(
        {
            "ours": our_step(experiment, state, batch),
            "torch_eager": torch_step(network, config, image, label, compiled=False),
            "torch_compile": torch_step(network, config, image, label, compiled=True),
        },
        flags.repeats,
    )
    found = {name: spread(times) for name, times in seconds.items()}
    for name, (low, median, high) in found.items():
        rate = flags.batch / median
        print(f"{name:14} {low:.4f}/{median:.4f}/{high:.4f} s  {rate:,.0f} images/s")
    ratio = min(found["torch_eager"][1], found["torch_compile"][1]) / found["ours"][1]
    print(f"ours is {ratio:.2f} times as fast as PyTorch {torch.__version__}")
    if flags.write:
        setting = {"config": flags.config, "batch": flags.batch, "precision": config.precision}
        record = {**setting, "repeats": flags.repeats, "torch": torch.__version__}
        append("step", {**record, "unit": "seconds [min, median, max]", **found, "ratio": ratio})


if __name__ == "__main__":
    main()
