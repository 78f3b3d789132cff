"""What every pipeline offers, whichever way it holds its images; `make_pipeline` builds one."""

import abc
import math
import pathlib
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import jax
from jax.sharding import Mesh

from crnn_jax import mesh as mesh_lib
from crnn_jax.errors import UserError

if TYPE_CHECKING:
    from crnn_jax.data.crops import Crop
    from crnn_jax.data.sources import Split

# image_BHWC uint8; label_B int32; weight_B float32 (0: padding, or an unreadable image);
# epoch_B and example_B int32 (which example it is; in padding, a number past the last example).
Batch = dict[str, jax.Array]
Inputs = Any  # a pytree of device arrays: an argument of the jitted step, never a captured constant


class Pipeline(abc.ABC):
    """Batches of one split, in the training order or, for evaluation, each example once in order.

    The host's part is `train_inputs` and `eval_inputs`; the device's part, `assemble` and
    `eval_assemble`, is pure and runs inside the caller's jit:

        for inputs in pipeline.train_inputs(start_step):
            state = train_step(state, inputs)  # calls pipeline.assemble(inputs, state.step)

    Batch s holds the positions s*B..(s+1)*B-1 of `order.example_at`, so that the step is all the
    state there is. Positions are uint32: a run ends after 2**32 examples.

    Attributes:
      num_examples: N, unreadable images included.
      batch_size: B of training, global.
      eval_batch_size: of evaluation: no more than N, then rounded up to what the devices divide.
    """

    def __init__(self, num_examples: int, batch_size: int, mesh: Mesh):
        self.num_examples = num_examples
        self.batch_size = batch_size
        self.eval_batch_size = mesh_lib.padded_batch(min(batch_size, num_examples), mesh)
        self.mesh = mesh

    @property
    def num_eval_batches(self) -> int:
        """How many batches `eval_inputs` gives: ceil(N / eval_batch_size)."""
        return math.ceil(self.num_examples / self.eval_batch_size)

    @abc.abstractmethod
    def train_inputs(self, start_step: int) -> Generator[Inputs]:
        """Returns the endless iterator of what `assemble` needs, from `start_step` on; close it.

        Raises:
          UserError: the devices do not divide `batch_size`.
        """

    @abc.abstractmethod
    def assemble(self, inputs: Inputs, step: jax.Array) -> Batch:
        """Returns the batch of `step` (a traced integer scalar), sharded over the data axis."""

    @abc.abstractmethod
    def eval_inputs(self) -> Iterator[tuple[Inputs, jax.Array]]:
        """Returns an iterator of (inputs, first_index) over all examples, once and in order."""

    @abc.abstractmethod
    def eval_assemble(self, inputs: Inputs, first_index: jax.Array) -> Batch:
        """Returns a batch of `eval_batch_size` from `first_index` (a traced scalar) on.

        Rows past the last example are padding: a black image, label 0 and weight 0.
        """


def make_pipeline(
    kind: str,
    split: "Split",
    *,
    batch_size: int,
    seed: int,
    mesh: Mesh,
    cache_dir: pathlib.Path,
    skip_corrupt: bool,
    num_workers: int,
    fingerprint: str,
    crop: "Crop | None" = None,
) -> Pipeline:
    """Returns the pipeline named `kind` over `split`.

    Args:
      kind: "resident" (decoded once, kept on the devices) or "streaming" (read as needed).
      split: the examples.
      batch_size: global, over all devices and processes.
      seed: of the training order.
      mesh: with the axis "data".
      cache_dir: where the resident pipeline keeps decoded images.
      skip_corrupt: an unreadable image keeps its place with weight 0, instead of ending the run.
      num_workers: decoding processes of the streaming pipeline; 0: threads.
      fingerprint: of the split's source; names the decoded images in the cache.
      crop: the part of each image that is decoded, streaming alone; None: as the split gives it.

    Raises:
      UserError: an empty split.
      CorruptImageError: the resident pipeline met an unreadable image, without `skip_corrupt`.
    """
    if split.num_examples == 0:
        raise UserError(
            f"split '{split.name}' expects at least one example, found none; check 'data.source' "
            "and the fractions 'data.validation' and 'data.test_fraction'"
        )
    # Imported here: both build on this file.
    if kind == "resident":
        from crnn_jax.data.resident import ResidentPipeline

        return ResidentPipeline(
            split,
            batch_size=batch_size,
            seed=seed,
            mesh=mesh,
            cache_dir=cache_dir,
            skip_corrupt=skip_corrupt,
            fingerprint=fingerprint,
        )
    from crnn_jax.data.streaming import StreamingPipeline

    return StreamingPipeline(
        split,
        batch_size=batch_size,
        seed=seed,
        mesh=mesh,
        skip_corrupt=skip_corrupt,
        num_workers=num_workers,
        crop=crop,
    )
