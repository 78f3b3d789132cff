"""Writes random images in CIFAR-10's shape, to measure speed where the data set is not at hand.

    python benchmarks/stand_in.py FOLDER [--train 10240] [--test 512]

FOLDER is then --config.data.source=folder:FOLDER. It is written once.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image

NUM_CLASSES, SIZE = 10, 32


def main() -> None:
    """Writes the two splits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--train", type=int, default=10_240)
    parser.add_argument("--test", type=int, default=512)
    flags = parser.parse_args()
    done = flags.folder / "done"
    if done.exists():
        return
    random = np.random.default_rng(0)
    for split, count in (("train", flags.train), ("test", flags.test)):
        for index in range(count):
            folder = flags.folder / split / str(index % NUM_CLASSES)
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    done.touch()


if __name__ == "__main__":
    main()
