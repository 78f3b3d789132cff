"""PyTorch's side of step, gru, sequencer and serving.py, in a process of its own; see peer.py.

A process of its own, so that PyTorch may live in another interpreter than JAX: each on the newest
Python that it has a build for. Reads one JSON request a line and answers with one; see `main`.
"""

import functools
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from steady import STEPS, matmul_side, peak_resident_bytes, steady_seconds
from torch import nn  # pyright: ignore[reportMissingImports]

Programs = dict[str, Callable[[], Any]]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def synchronize() -> None:
    """Waits for the device."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def peak_bytes() -> int:
    """Returns the most memory so far, bytes: on a GPU what tensors had, else what was resident."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else peak_resident_bytes()


def finished(program: Callable[[], Any]) -> Callable[[], None]:
    """Returns a call of the program that ends when the device is done."""

    def run() -> None:
        program()
        synchronize()

    return run


class Network(nn.Module):
    """The CNN or the CRNN (rows, one GRU layer) of the same sizes as ours."""

    def __init__(
        self,
        in_channels: int,
        height: int,
        stage_channels: list[int],
        layers_per_stage: list[int],
        hidden_units: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        layers: list[Any] = []
        channels = in_channels
        for out, count in zip(stage_channels, layers_per_stage, strict=True):
            for layer in range(count):
                layers.append(nn.Conv2d(channels, out, 3, padding=1, bias=False))
                layers += [nn.MaxPool2d(2)] if layer == 0 else []
                layers += [nn.BatchNorm2d(out), nn.ReLU()]
                channels = out
            height //= 2
        self.trunk = nn.Sequential(*layers)
        self.gru = None
        if hidden_units:
            self.gru = nn.GRU(height * channels, hidden_units, batch_first=True)
            channels = hidden_units
        self.head = nn.Linear(channels, num_classes)

    def forward(self, image: Any) -> Any:
        """Returns the class scores of images (B, C, H, W)."""
        feature_map = self.trunk(image)
        if self.gru is None:
            return self.head(feature_map.mean((2, 3)))
        rows = feature_map.permute(0, 2, 3, 1).flatten(2)  # (B, H, W * C), as ours
        return self.head(self.gru(rows)[0][:, -1])


def load_network(arrays: dict[str, Any], setting: dict[str, Any]) -> Any:
    """Returns the network with our weights, channels last; see `make_step` for the arguments."""
    torch.backends.cudnn.benchmark = True
    network = Network(**setting["network"])
    weights = network.state_dict()
    with torch.no_grad():
        for name, tensor in weights.items():
            if name in arrays:
                tensor.copy_(torch.tensor(arrays[name]))
            elif name.startswith("gru.bias") or name == "head.bias":
                tensor.zero_()  # ours start at zero
    return network.to(DEVICE, memory_format=torch.channels_last)


def make_step(arrays: dict[str, Any], setting: dict[str, Any]) -> tuple[Any, Programs]:
    """Returns (class scores in evaluation mode, {"eager", "compile"}: one training step each).

    Args:
      arrays: "image_BHWC" (normalised), "label_B", and one array for each of the network's
        parameters that is not at its initial value.
      setting: `Network`'s arguments under "network"; the AdamW arguments under "adamw";
        "label_smoothing"; "bfloat16".
    """
    network = load_network(arrays, setting)
    image = torch.tensor(arrays["image_BHWC"]).permute(0, 3, 1, 2)
    image = image.to(DEVICE, memory_format=torch.channels_last)
    label = torch.tensor(arrays["label_B"]).long().to(DEVICE)
    with torch.no_grad():
        scores = network.eval()(image).cpu().numpy()
    network.train()

    def program(compiled: bool) -> Callable[[], None]:
        optimizer = torch.optim.AdamW(network.parameters(), fused=True, **setting["adamw"])

        def loss_fn() -> Any:
            with torch.autocast(DEVICE, torch.bfloat16, enabled=setting["bfloat16"]):
                scores = network(image)
            return nn.functional.cross_entropy(
                scores.float(), label, label_smoothing=setting["label_smoothing"]
            )

        return _step_of(optimizer, torch.compile(loss_fn, dynamic=False) if compiled else loss_fn)

    return scores, {"torch_eager": program(False), "torch_compile": program(True)}


def make_gru(arrays: dict[str, Any], setting: dict[str, Any]) -> tuple[Any, Programs]:
    """Returns (all states, {"forward", "both"}) of `nn.GRU`; "matmul" as `timing.matmul_program`.

    Args:
      arrays: "feature_BTD" and the layer's four parameters by PyTorch's names.
      setting: "units" and "dtype".
    """
    dtype = getattr(torch, setting["dtype"])
    feature = torch.tensor(arrays["feature_BTD"], dtype=dtype, device=DEVICE, requires_grad=True)
    layer = torch.nn.GRU(feature.shape[2], setting["units"], batch_first=True)
    with torch.no_grad():
        for name, tensor in layer.state_dict().items():
            tensor.copy_(torch.tensor(arrays[name]))
    layer = layer.to(DEVICE, dtype)

    def forward() -> Any:
        with torch.no_grad():
            return layer(feature)[0]

    grad = torch.randn(*feature.shape[:2], setting["units"], dtype=dtype, device=DEVICE)

    def both() -> None:
        layer.zero_grad(set_to_none=True)
        feature.grad = None
        layer(feature)[0].backward(grad)

    side = matmul_side(DEVICE)
    square = torch.randn(side, side, dtype=dtype, device=DEVICE)
    programs = {"forward": forward, "both": both, "matmul": lambda: square @ square}
    return forward().float().cpu().numpy(), programs


def make_serving(arrays: dict[str, Any], setting: dict[str, Any]) -> tuple[Any, Programs]:
    """Returns (probabilities, {"torch_eager_1", "torch_compile_1", ... of each number of images}).

    A call takes uint8 images (B, H, W, C) of the host to probabilities on the host.

    Args:
      arrays: "image_BHWC" (uint8), "mean_C", "std_C", and the network's parameters.
      setting: "network" as of `make_step`, and "batches", the numbers of images.
    """
    network = load_network(arrays, setting).eval()
    mean, std = (torch.tensor(arrays[name]).to(DEVICE) for name in ("mean_C", "std_C"))

    def forward(image: Any) -> Any:
        normalised = (image.float() - mean) / std
        return network(normalised.permute(0, 3, 1, 2)).softmax(-1)

    def program(function: Any, batch: int) -> Callable[[], Any]:
        images = arrays["image_BHWC"][:batch]

        def run() -> Any:
            with torch.inference_mode():
                return function(torch.from_numpy(images).to(DEVICE)).cpu().numpy()

        return run

    kinds = {"eager": forward, "compile": torch.compile(forward, dynamic=False)}
    programs = {
        f"torch_{kind}_{batch}": program(function, batch)
        for batch in setting["batches"]
        for kind, function in kinds.items()
    }
    return program(forward, len(arrays["image_BHWC"]))(), programs


def make_sequencer(arrays: dict[str, Any], setting: dict[str, Any]) -> tuple[Any, Programs]:
    """Returns (class scores, {"forward", "step"}, eager and compiled) of timm's Sequencer2D.

    Args:
      arrays: as `make_step`'s, with every weight under timm's name.
      setting: `make_step`'s without "network"; timm's "model".
    """
    from timm.models import sequencer  # pyright: ignore[reportMissingImports]

    torch.backends.cudnn.benchmark = True
    image = torch.tensor(arrays.pop("image_BHWC")).permute(0, 3, 1, 2).to(DEVICE)
    label = torch.tensor(arrays.pop("label_B")).long().to(DEVICE)
    network = getattr(sequencer, setting["model"])(num_classes=arrays["head.fc.bias"].size)
    network.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    network = network.to(DEVICE)

    def scores() -> Any:
        with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16, enabled=setting["bfloat16"]):
            return network(image)

    def loss() -> Any:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=setting["bfloat16"]):
            found = network(image)
        return nn.functional.cross_entropy(
            found.float(), label, label_smoothing=setting["label_smoothing"]
        )

    programs: Programs = {}
    compiled = functools.partial(torch.compile, dynamic=False)  # shapes never change
    for name, wrap in (("torch_eager", lambda fn: fn), ("torch_compile", compiled)):
        optimizer = torch.optim.AdamW(network.parameters(), fused=True, **setting["adamw"])
        programs[f"step/{name}"] = _step_of(optimizer, wrap(loss))
        programs[f"forward/{name}"] = wrap(scores)
    # Nothing in it differs between training and evaluation, and cuDNN's LSTM has a gradient in
    # training alone.
    return network(image).float().detach().cpu().numpy(), programs


def _step_of(optimizer: Any, loss_fn: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_fn().backward()
        optimizer.step()

    return run


MAKERS = {"step": make_step, "gru": make_gru, "sequencer": make_sequencer, "serving": make_serving}


def end_with_parent() -> None:
    """Ends this process once its parent has: it may be compiling, and disturb what comes next."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    """Answers requests until the input ends.

    {"make": KIND, "arrays": NPZ, "setting": {...}, "output": NPY} makes the programs of a kind of
    `MAKERS`, saves the output and answers {"programs", "torch", "device"}; {"call": PROGRAM}
    answers {"seconds"} of a call (`steady_seconds`): a network's follow each other as in a
    training, a layer's are each waited for. Every answer has "peak_bytes".
    """
    threading.Thread(target=end_with_parent, daemon=True).start()
    kind = ""
    programs: Programs = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "make" in request:
            with np.load(request["arrays"]) as file:
                arrays = dict(file)
            kind = request["make"]
            output, programs = MAKERS[kind](arrays, request["setting"])
            np.save(request["output"], output)
            answer = {"programs": list(programs), "torch": torch.__version__, "device": DEVICE}
        else:
            synchronize()
            program = programs[request["call"]]
            if kind != "gru":
                answer = {"seconds": steady_seconds(program, synchronize, STEPS)}
            else:
                answer = {"seconds": steady_seconds(finished(program))}
        print(json.dumps({**answer, "peak_bytes": peak_bytes()}), flush=True)


if __name__ == "__main__":
    main()
