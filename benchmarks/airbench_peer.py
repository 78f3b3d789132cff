"""Runs airbench94's own code on given arrays; started by airbench.py with PyTorch's interpreter.

    PYTHON airbench_peer.py SCRIPT ARRAYS.npz RUNS

In the current folder it lays the images where the script looks for them before it would download
them. Then it does what the script does when it is started, with RUNS trainings in place of its
200. Everything printed is the script's own.
"""

import importlib.util
import pathlib
import sys
from typing import Any

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def main(script: str, arrays: str, runs: int) -> None:
    """Trains."""
    import numpy as np
    import torch  # pyright: ignore[reportMissingImports]

    folder = pathlib.Path("cifar10")
    folder.mkdir()
    with np.load(arrays) as loaded:
        for split in ("train", "test"):
            images, labels = loaded[f"{split}_images"], loaded[f"{split}_labels"].astype(np.int64)
            stored = {"images": torch.from_numpy(images), "labels": torch.from_numpy(labels)}
            torch.save({**stored, "classes": CLASSES}, folder / f"{split}.pt")
    sys.argv = [script]  # which the script reads when it is imported
    spec = importlib.util.spec_from_file_location("airbench", script)
    assert spec is not None
    assert spec.loader is not None
    airbench: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(airbench)
    model = airbench.CifarNet().cuda().to(memory_format=torch.channels_last)
    model.compile(mode="max-autotune")
    airbench.print_columns(airbench.logging_columns_list, is_head=True)
    airbench.main("warmup", model)
    for run in range(runs):
        airbench.main(run, model)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
