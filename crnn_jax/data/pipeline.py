"""What every pipeline offers, whichever way it holds its examples."""

import abc
import math
from collections.abc import Generator
from typing import Any

import jax
from jax.sharding import Mesh

from crnn_jax import mesh as mesh_lib

# The fields of the split, by name, (B, ...); besides weight_B float32 (0: padding, or an unreadable
# example), epoch_B and example_B int32 (which example it is; in padding, a number past the last).
Batch = dict[str, jax.Array]
Inputs = Any  # a pytree of device arrays: an argument of the jitted step, never a captured constant


class Pipeline(abc.ABC):
    """Batches of one split, in the training order or, for evaluation, each example once in order.

    The host's part is `train_inputs` and `eval_inputs`; the device's part, `assemble` and
    `eval_assemble`, is pure and runs inside the caller's jit:

        for inputs in pipeline.train_inputs(start_step):
            state = train_step(state, inputs)  # calls pipeline.assemble(inputs, state.step)

    Batch s holds the positions s*B..(s+1)*B-1 of `order.example_at`, or of `order.balanced_at`
    where the pipeline is given groups, so that the step is all the state there is. Positions are
    uint32: a run ends after 2**32 examples.

    Attributes:
      num_examples: N, unreadable ones included.
      batch_size: B of training, global.
      eval_batch_size: B of evaluation: no more than N, then rounded up to what the devices divide.
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
    def eval_inputs(self) -> Generator[tuple[Inputs, jax.Array]]:
        """Returns an iterator of (inputs, first_index) over all examples, once and in order."""

    @abc.abstractmethod
    def eval_assemble(self, inputs: Inputs, first_index: jax.Array) -> Batch:
        """Returns a batch of `eval_batch_size` from `first_index` (a traced scalar) on.

        Rows past the last example are padding: all fields and the weight are 0.
        """
