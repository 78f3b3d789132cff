"""The pipeline for splits of any size: Grain reads, decodes and prefetches batches."""

import collections
import dataclasses
import os
import sys
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax.sharding import Mesh

from crnn_jax import mesh as mesh_lib
from crnn_jax.data import order, reading
from crnn_jax.data.pipeline import Batch, Inputs, Pipeline

if TYPE_CHECKING:
    from crnn_jax.data.sources import Split

_PLACED_AHEAD = 2  # batches whose copy to the devices overlaps the step before


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads this process's rows of batch `step`; a class, since Grain's workers unpickle it."""

    split: "Split"
    image_shape: tuple[int, int, int]
    batch_size: int
    rows: slice
    skip_corrupt: bool

    def _batch(self, epoch_B: np.ndarray, example_B: np.ndarray) -> dict[str, np.ndarray]:
        examples = reading.blank(len(example_B), self.image_shape)
        # Padding comes last, so that reading may stop before it.
        index_B = example_B[example_B < self.split.num_examples]
        reading.read_into(examples, self.split, index_B, self.skip_corrupt)
        return {
            "image_BHWC": examples.image_NHWC,
            "label_B": examples.label_N,
            "weight_B": examples.weight_N,
            "epoch_B": epoch_B,
            "example_B": example_B,
        }


@dataclasses.dataclass(frozen=True)
class _TrainReader(_Reader):
    seed: int

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        position_B = order.positions(step, self.batch_size, np)[self.rows]
        return self._batch(*order.example_at(position_B, self.split.num_examples, self.seed, np))


@dataclasses.dataclass(frozen=True)
class _EvalReader(_Reader):
    def __call__(self, step: int) -> dict[str, np.ndarray]:
        index_B = np.arange(self.batch_size, dtype=np.int32)[self.rows] + step * self.batch_size
        index_B = index_B.astype(np.int32)
        return self._batch(np.zeros_like(index_B), index_B)


class StreamingPipeline(Pipeline):
    """Reads each batch as it is needed, in threads, or in processes with `num_workers` above 0.

    Grain is given batch numbers and the order is arithmetic, so that resuming needs no iterator
    state and the number of workers changes nothing. See `make_pipeline` for the arguments.
    """

    def __init__(
        self,
        split: "Split",
        *,
        batch_size: int,
        seed: int,
        mesh: Mesh,
        skip_corrupt: bool,
        num_workers: int,
    ):
        super().__init__(split.num_examples, batch_size, mesh)
        self._split = split
        self._seed = seed
        self._skip_corrupt = skip_corrupt
        self._num_workers = num_workers
        self._image_shape = reading.image_shape(split, skip_corrupt)

    def train_inputs(self, start_step: int) -> Generator[Inputs]:
        """Returns an iterator of batches from `start_step` on, placed on the devices in advance."""
        mesh_lib.check_batch(self.batch_size, self.mesh)
        reader = _TrainReader(
            split=self._split,
            image_shape=self._image_shape,
            batch_size=self.batch_size,
            rows=mesh_lib.process_rows(self.batch_size),
            skip_corrupt=self._skip_corrupt,
            seed=self._seed,
        )
        return self._stream(reader, start_step, order.MAX_POSITIONS // self.batch_size)

    def assemble(self, inputs: Inputs, step: jax.Array) -> Batch:
        """Returns `inputs`, which are the batch."""
        del step
        return inputs

    def eval_inputs(self) -> Iterator[tuple[Inputs, jax.Array]]:
        """Returns an iterator of (batch, its first index)."""
        reader = _EvalReader(
            split=self._split,
            image_shape=self._image_shape,
            batch_size=self.eval_batch_size,
            rows=mesh_lib.process_rows(self.eval_batch_size),
            skip_corrupt=self._skip_corrupt,
        )
        sharding = mesh_lib.replicated(self.mesh)
        for step, batch in enumerate(self._stream(reader, 0, self.num_eval_batches)):
            yield batch, mesh_lib.place(np.uint32(step * self.eval_batch_size), sharding)

    def eval_assemble(self, inputs: Inputs, first_index: jax.Array) -> Batch:
        """Returns `inputs`, which are the batch."""
        del first_index
        return inputs

    def _stream(
        self, reader: Callable[[int], dict[str, np.ndarray]], start: int, stop: int
    ) -> Generator[Inputs]:
        """Yields reader(start), ..., reader(stop - 1) as global arrays."""
        import grain

        # Grain's element is a whole batch: a thread decodes a batch, and few are held in memory.
        threads = 2 if self._num_workers else min(8, os.cpu_count() or 1)
        dataset = grain.MapDataset.range(start, stop).map(reader)
        stream = dataset.to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
        )
        if self._num_workers:
            _prepare_workers()
            stream = stream.mp_prefetch(
                grain.MultiprocessingOptions(self._num_workers, per_worker_buffer_size=2)
            )
        sharding = mesh_lib.batch_sharding(self.mesh)
        placed: collections.deque[Inputs] = collections.deque()
        iterator = iter(stream)
        try:
            for batch in iterator:
                placed.append(mesh_lib.place(batch, sharding))
                if len(placed) >= _PLACED_AHEAD:
                    yield placed.popleft()
            while placed:
                yield placed.popleft()
        finally:
            iterator.close()


def _prepare_workers() -> None:
    """Lets Grain start its processes outside absl's app.run too, and stop them without noise."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    # A worker stopped with a batch in hand leaves it in shared memory; Python's tracker frees it,
    # and would say so after the one line of a user's mistake. Child processes inherit the option.
    option = "ignore:resource_tracker:UserWarning"
    if option not in sys.warnoptions:
        sys.warnoptions.append(option)
