"""A whole training step with our BatchNorm against the same step with flax's.

    python benchmarks/batch_norm.py [--config FILE:MODEL] [--batch 256] [--repeats 10] [--write]

Both normalise alike (tests/models/test_normalization.py); ours has its gradient written out. Prints
seconds a step as min/median/max over interleaved repeats, and the ratios of neighbours in time.
--write appends a JSON line to results/benchmarks/batch_norm.jsonl.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from step import IMAGE_SHAPE, NORM, NUM_CLASSES, constant_batch, our_step
from timing import PLAIN_CONFIG, append, compare

from crnn_jax.flags import resolve_config
from crnn_jax.huge_pages import restart_with_huge_pages
from crnn_jax.models import cnn
from crnn_jax.train.experiment import build


class FlaxBatchNorm(nn.Module):
    """flax's with the arguments of ours, as the trunk called it before."""

    momentum: float
    use_scale: bool

    @nn.compact
    def __call__(self, image_BHWC: jax.Array, *, train: bool) -> jax.Array:
        """Returns the image normalised."""
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            use_scale=self.use_scale,
            dtype=image_BHWC.dtype,
        )(image_BHWC)


def steps(config: Any, norm: type[nn.Module]) -> Callable[[int], None]:
    """Returns what runs a number of training steps of a model whose trunk normalises by `norm`."""
    ours, cnn.BatchNorm = cnn.BatchNorm, norm
    experiment = build(config, IMAGE_SHAPE, NUM_CLASSES, 50_000)
    batch = jax.tree.map(jnp.asarray, constant_batch(config.batch_size))
    step = our_step(experiment, experiment.init_state(NORM), batch)
    step()  # compiled while the trunk's norm is this one
    cnn.BatchNorm = ours

    def run(number: int) -> None:
        for _ in range(number):
            step()

    return run


def main() -> None:
    """Times both and prints the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default=PLAIN_CONFIG)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    config = resolve_config(flags.config, {"mesh.data": "1", "batch_size": str(flags.batch)})
    flax, ours = steps(config, FlaxBatchNorm), steps(config, cnn.BatchNorm)
    of_flax, of_ours, ratios = compare(flax, ours, flags.repeats, fill=1.0, most=100)
    for name, (low, median, high) in (("flax", of_flax), ("ours", of_ours)):
        print(f"{name}  {low:.4f}/{median:.4f}/{high:.4f} s a step")
    low, median, high = ratios
    print(f"with ours a step is {median:.3f} times as fast ({low:.3f} to {high:.3f})")
    if flags.write:
        setting = {"config": flags.config, "batch": flags.batch, "repeats": flags.repeats}
        found = {"flax": of_flax, "ours": of_ours, "ratio": ratios}
        append("batch_norm", {**setting, "unit": "seconds a step [min, median, max]", **found})


if __name__ == "__main__":
    restart_with_huge_pages()  # as crnn_jax.main does
    main()
