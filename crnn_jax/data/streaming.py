"""The pipeline for splits of any size: Grain reads, decodes and prefetches batches."""

import abc
import collections
import dataclasses
import itertools
import math
import os
import sys
from collections.abc import Generator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from crnn_jax import mesh as mesh_lib
from crnn_jax.data import order, reading, workers
from crnn_jax.data.pipeline import Batch, Inputs, Pipeline
from crnn_jax.data.reading import View
from crnn_jax.data.slots import Filled, MainSlots, worker_slots
from crnn_jax.data.splits import Split
from crnn_jax.errors import UserError

_PLACED_AHEAD = 2  # batches whose copy to the devices overlaps the step before
_CHUNK_BYTES = 16 * 2**20  # images that a thread decodes at a time: a batch may be gigabytes


@dataclasses.dataclass(frozen=True)
class _Reader(abc.ABC):
    """Reads chunk i of this process's rows; a class, since Grain's workers unpickle it.

    A batch has num_chunks of them: chunk i is part i % num_chunks of batch i // num_chunks.
    """

    split: Split
    batch_size: int
    rows: slice
    num_chunks: int
    skip_corrupt: bool
    view: View | None  # None: the whole example, as the split gives it
    slots: str = dataclasses.field(default="", kw_only=True)  # in a worker: where pixels go

    @abc.abstractmethod
    def __call__(self, index: int) -> dict[str, Any]: ...

    def describe(self, index: int) -> str:
        """Returns "batch 3 of split 'train'" or the like for chunk `index`."""
        step, rows = self._place(index)
        part = "" if self.num_chunks == 1 else f"rows {rows.start}..{rows.stop - 1} of "
        return f"{part}batch {step} of split '{self.split.name}'"

    def _place(self, index: int) -> tuple[int, slice]:
        """Returns (step, rows of the global batch) of a chunk."""
        step, chunk = divmod(index, self.num_chunks)
        count = self.rows.stop - self.rows.start
        first, last = (self.rows.start + count * i // self.num_chunks for i in (chunk, chunk + 1))
        return step, slice(first, last)

    def _batch(self, epoch_B: np.ndarray, example_B: np.ndarray) -> dict[str, Any]:
        name, fields = self.split.pixels, self.split.fields
        room, filled = {}, {}
        if self.slots:
            shape = (len(example_B), *fields[name].shape)
            room[name], filled[name] = worker_slots(self.slots).take(shape)
        examples = reading.unread(len(example_B), fields, room)
        # Padding comes last, so that reading may stop before it.
        index_B = example_B[example_B < self.split.num_examples]
        for array in examples.fields.values():
            array[len(index_B) :] = 0
        if self.view is None:
            reading.read_into(examples, self.split, index_B, self.skip_corrupt)
        else:
            epoch_N = epoch_B[: len(index_B)]
            reading.view_into(examples, self.split, epoch_N, index_B, self.view, self.skip_corrupt)
        own = {"weight_B": examples.weight_N, "epoch_B": epoch_B, "example_B": example_B}
        return {**examples.fields, **filled, **own}


@dataclasses.dataclass(frozen=True)
class _TrainReader(_Reader):
    seed: int
    groups: order.Groups | None

    def __call__(self, index: int) -> dict[str, Any]:
        step, rows = self._place(index)
        position_B = order.positions(step, self.batch_size, np)[rows]
        if self.groups is not None:
            return self._batch(*order.balanced_at(position_B, self.groups, self.seed, np))
        return self._batch(*order.example_at(position_B, self.split.num_examples, self.seed, np))


@dataclasses.dataclass(frozen=True)
class _EvalReader(_Reader):
    def __call__(self, index: int) -> dict[str, Any]:
        step, rows = self._place(index)
        index_B = np.arange(rows.start, rows.stop) + step * self.batch_size
        index_B = index_B.astype(np.int32)
        return self._batch(np.zeros_like(index_B), index_B)


class StreamingPipeline(Pipeline):
    """Reads each batch as it is needed, in threads, or in processes with `num_workers` above 0.

    Grain is given numbers of batches, or of parts of them, and the order is arithmetic, so that
    resuming needs no iterator state and the number of workers changes nothing. See
    `dataset.make_pipeline` for the arguments.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        seed: int,
        mesh: Mesh,
        skip_corrupt: bool,
        num_workers: int,
        view: View | None = None,
        groups: order.Groups | None = None,
    ):
        super().__init__(split.num_examples, batch_size, mesh)
        if view is not None and split.encoded is None:
            raise UserError(
                "config key 'data.crop' expects 'none' for a source whose examples are not stored "
                f"as files, found '{view.kind}'"
            )
        self._view = view
        self._split = split
        self._seed = seed
        self._skip_corrupt = skip_corrupt
        self._num_workers = num_workers
        self._groups = groups

    def train_inputs(self, start_step: int) -> Generator[Inputs]:
        """Returns an iterator of batches from `start_step` on, placed on the devices in advance."""
        mesh_lib.check_batch(self.batch_size, self.mesh)
        common = self._reader_arguments(self.batch_size)
        reader = _TrainReader(**common, view=self._view, seed=self._seed, groups=self._groups)
        return self._stream(reader, start_step, order.MAX_POSITIONS // self.batch_size)

    def _reader_arguments(self, batch_size: int) -> dict[str, Any]:
        rows = mesh_lib.process_rows(batch_size)
        pixels = self._split.fields[self._split.pixels]
        num_bytes = (rows.stop - rows.start) * math.prod(pixels.shape)
        return {
            "split": self._split,
            "batch_size": batch_size,
            "rows": rows,
            "num_chunks": min(rows.stop - rows.start, math.ceil(num_bytes / _CHUNK_BYTES)),
            "skip_corrupt": self._skip_corrupt,
        }

    def assemble(self, inputs: Inputs, step: jax.Array) -> Batch:
        """Returns `inputs`, which are the batch."""
        del step
        return inputs

    def eval_inputs(self) -> Generator[tuple[Inputs, jax.Array]]:
        """Returns an iterator of (batch, its first index)."""
        view = None if self._view is None else self._view.evaluation()
        reader = _EvalReader(**self._reader_arguments(self.eval_batch_size), view=view)
        sharding = mesh_lib.replicated(self.mesh)
        for step, batch in enumerate(self._stream(reader, 0, self.num_eval_batches)):
            yield batch, mesh_lib.place(np.uint32(step * self.eval_batch_size), sharding)

    def eval_assemble(self, inputs: Inputs, first_index: jax.Array) -> Batch:
        """Returns `inputs`, which are the batch."""
        del first_index
        return inputs

    def _stream(self, reader: _Reader, start: int, stop: int) -> Generator[Inputs]:
        """Yields batches start, ..., stop - 1 as global arrays."""
        import grain

        # Grain's element is a batch or a part of one: a thread decodes it, few are in memory.
        count = reader.num_chunks
        slots = MainSlots() if self._num_workers else None
        if slots is not None:
            _prepare_workers()
            reader = dataclasses.replace(reader, slots=slots.prefix)
        threads = 1 if self._num_workers else min(8, _num_cores())

        def chunks_from(first: int) -> Any:
            stream = grain.MapDataset.range(first, stop * count).map(reader)
            stream = stream.to_iter_dataset(
                grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
            )
            # Shared memory is the slots' alone, whose names tell what a killed run has left.
            options = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
            stream = grain.experimental.WithOptionsIterDataset(stream, options)
            if self._num_workers:
                workers_options = grain.MultiprocessingOptions(
                    self._num_workers, per_worker_buffer_size=2
                )
                stream = stream.mp_prefetch(workers_options, workers.start_worker)
            return iter(stream)

        sharding = mesh_lib.batch_sharding(self.mesh)
        placed: collections.deque[Inputs] = collections.deque()
        iterator = workers.elements(chunks_from, start * count, reader.describe)
        try:
            for chunks in iter(lambda: list(itertools.islice(iterator, count)), []):
                placed.append(mesh_lib.place(_joined(chunks, slots), sharding))
                if len(placed) >= _PLACED_AHEAD:
                    yield placed.popleft()
            while placed:
                yield placed.popleft()
        finally:
            iterator.close()
            if slots is not None:
                slots.close()


def _num_cores() -> int:
    """Returns the cores that this process may use, which a container or a batch system limits."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _joined(chunks: list[dict[str, Any]], slots: MainSlots | None) -> dict[str, np.ndarray]:
    for chunk in chunks:
        for name, value in chunk.items():
            if isinstance(value, Filled):
                assert slots is not None
                chunk[name] = slots.array(value)
    if len(chunks) == 1:
        return chunks[0]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _prepare_workers() -> None:
    """Lets Grain start its processes outside absl's app.run too, and stop them without noise."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    # Each of a worker's threads would keep memory of its own for what it allocates: images of many
    # sizes, which leave holes in every part. One part for all stays small, and does not grow.
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")
    # A worker stopped with a batch in hand leaves it in shared memory; Python's tracker frees it,
    # and would say so after the one line of a user's mistake. Child processes inherit the option.
    option = "ignore:resource_tracker:UserWarning"
    if option not in sys.warnoptions:
        sys.warnoptions.append(option)
