"""Run by a test as a program: prints the examples of each batch as it is seen, a line each.

python -m tests.data.stream_examples FOLDER WORKERS START_STEP
"""

import json
import sys

import jax

from crnn_jax import mesh as mesh_lib
from crnn_jax.config import default_config
from crnn_jax.data.crops import Crop
from crnn_jax.data.sources import load_source
from crnn_jax.data.streaming import StreamingPipeline

BATCH = 16
CROP = Crop("random_resized", 8, 9, 0.08, seed=4)


def make(folder: str, num_workers: int) -> StreamingPipeline:
    config = default_config("crnn").data
    config.update(source=f"folder:{folder}", image_size=8)
    return StreamingPipeline(
        load_source(config, 0).train,
        batch_size=BATCH,
        seed=3,
        mesh=mesh_lib.make_mesh(1),
        skip_corrupt=False,
        num_workers=num_workers,
        view=CROP,
    )


def describe(batch: dict[str, jax.Array]) -> list[list[int]]:
    """Returns (epoch, example, sum of the pixels) of each row."""
    host = jax.device_get(batch)
    sums = host["image"].astype(int).sum((1, 2, 3))
    rows = zip(host["epoch_B"], host["example_B"], sums, strict=True)
    return [[int(value) for value in row] for row in rows]


def main() -> None:
    folder, workers, start = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for batch in make(folder, workers).train_inputs(start):
        print(json.dumps(describe(batch)), flush=True)


if __name__ == "__main__":
    main()
