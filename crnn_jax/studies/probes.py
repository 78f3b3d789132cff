"""Programs whose seconds say where a training's time goes; each ends when its work is done."""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from crnn_jax.compiler import compiler_options
from crnn_jax.data.pipeline import Pipeline
from crnn_jax.flops import count_flops
from crnn_jax.mesh import batch_sharding, replicated
from crnn_jax.models.recurrent import Recurrent, recurrent_calls
from crnn_jax.timing import interleave, spread
from crnn_jax.train.experiment import Experiment
from crnn_jax.train.state import TrainState

Run = Callable[[int], None]  # given a number of calls, makes them and returns when they are done


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """The task, for a batch whose pixels are augmented and normalised already."""

    task: Any

    def prepare(self, batch: Any, norm: Any, seed: Any, *, train: bool) -> Any:
        del norm, seed, train
        return batch["prepared"], batch

    def loss(self, output: Any, batch: Any, *, train: bool) -> Any:
        return self.task.loss(output, batch, train=train)


def prepare(experiment: Experiment, pipeline: Pipeline) -> Callable[[Any, TrainState], Any]:
    """Returns prepared(inputs, state) -> the batch of the state's step, ready for the model."""

    @jax.jit
    def prepared(inputs: Any, state: TrainState) -> Any:
        batch = pipeline.assemble(inputs, state.step)
        pixels, batch = experiment.task.prepare(batch, state.norm, state.seed, train=True)
        return {**batch, "prepared": pixels}

    return prepared


class Training:
    """Programs of training steps, one after the other, as the loop dispatches them.

    Attributes:
      bytes_per_step: read and written by all operations of a step, as the compiler counts them; the
        body of a loop inside the step counts once. None where it does not say.
    """

    def __init__(self, experiment: Experiment, state: TrainState, step: Any, inputs: Iterator[Any]):
        self._state, self._inputs = state, inputs
        self._totals = jax.jit(experiment.task.empty, out_shardings=replicated(experiment.mesh))()
        self._num_steps = experiment.steps_per_dispatch
        program = jax.jit(step, donate_argnums=0, compiler_options=experiment.compiler_options)
        self._program = program.lower(state, self._totals, next(inputs)).compile()
        cost: Any = self._program.cost_analysis() or {}
        # A scan's body counts once, so that this is of one step whatever a program's number.
        self.bytes_per_step: float | None = cost.get("bytes accessed")

    def __call__(self, num_programs: int = 1) -> None:
        """Runs that many programs."""
        for _ in range(num_programs):
            inputs = next(self._inputs)
            self._state, _ = self._program(self._state, self._totals, inputs)
        jax.block_until_ready(self._state)

    def close(self) -> None:
        """Ends the threads and processes that read the data."""
        if isinstance(self._inputs, Generator):
            self._inputs.close()

    def launch_seconds(self, repeats: int) -> list[float]:
        """Returns the host's seconds a step until a program's call returns, the device idle."""
        seconds = []
        for _ in range(repeats):
            inputs = jax.block_until_ready(next(self._inputs))
            start = time.perf_counter()
            self._state, _ = self._program(self._state, self._totals, inputs)
            seconds.append((time.perf_counter() - start) / self._num_steps)
            jax.block_until_ready(self._state)
        return spread(seconds)

    def host_seconds(self, repeats: int, calls: int = 50) -> list[float]:
        """Returns the seconds a step of a call with the same arguments that computes nothing."""

        def nothing(state: TrainState, totals: Any, inputs: Any) -> Any:
            return dataclasses.replace(state, step=state.step + 1), totals

        program = jax.jit(nothing, donate_argnums=0, keep_unused=True)
        inputs = next(self._inputs)

        def run() -> None:
            for _ in range(calls):
                self._state, _ = program(self._state, self._totals, inputs)
            jax.block_until_ready(self._state)

        seconds = interleave({"call": run}, repeats)["call"]
        return spread([s / calls / self._num_steps for s in seconds])


def training_with_data(
    experiment: Experiment, pipeline: Pipeline, norm: dict[str, Any]
) -> Training:
    """Returns the training as it is: a batch of the pipeline's a step, prepared inside it."""
    state, step = experiment.init_state(norm), experiment.train_step(pipeline.assemble)
    return Training(experiment, state, step, pipeline.train_inputs(0))


def training_on_constant_batch(
    experiment: Experiment, pipeline: Pipeline, norm: dict[str, Any]
) -> Training:
    """Returns the training on one batch, prepared before: all of the input's work is left out."""
    state = experiment.init_state(norm)
    with contextlib.closing(pipeline.train_inputs(0)) as inputs:
        batch = prepare(experiment, pipeline)(next(inputs), state)
    task = _Prepared(experiment.task)
    step = experiment.train_step(lambda inputs, step: inputs, task)
    return Training(experiment, state, step, itertools.repeat(batch))


def repeated(programs: list[tuple[Any, ...]]) -> Run:
    """Returns run(count): each (program, *arguments) in turn, `count` times, until all is done.

    A CPU would work on calls that do not depend on each other at once: there each is waited for.
    """
    on_cpu = jax.default_backend() == "cpu"

    def run(count: int = 1) -> None:
        results = []
        for _ in range(count):
            results = [program(*arguments) for program, *arguments in programs]
            if on_cpu:
                jax.block_until_ready(results)
        jax.block_until_ready(results)

    return run


def recurrent_part(experiment: Experiment) -> tuple[Run, int] | None:
    """Returns (forward and backward pass of the recurrent layers alone, its FLOPs), or None.

    The gradient is taken of all parameters and of the input, on a random batch of the run's size.
    """
    size = experiment.config.batch_size
    calls = recurrent_calls(experiment.model, experiment.input_shape, size)
    if not calls:
        return None
    programs, flops = [], 0
    for layer, shape in calls:

        def loss(variables: Any, feature: jax.Array, layer: Recurrent = layer) -> jax.Array:
            leaves = jax.tree.leaves(layer.apply(variables, feature))
            return sum((jnp.sum(leaf.astype(jnp.float32)) for leaf in leaves), jnp.zeros(()))

        feature = jax.random.normal(jax.random.key(0), shape.shape).astype(shape.dtype)
        feature = jax.device_put(feature, batch_sharding(experiment.mesh))
        variables = jax.jit(layer.init)(jax.random.key(0), feature[:1])
        variables = jax.device_put(variables, replicated(experiment.mesh))
        flops += 3 * count_flops(layer.apply, variables, feature)
        gradient = jax.jit(jax.grad(loss, (0, 1)), compiler_options=experiment.compiler_options)
        programs.append((gradient, variables, feature))
    return repeated(programs), flops


def product(mesh: Mesh, dtype: str, size: int) -> tuple[Run, float]:
    """Returns (a matrix product on all devices at once, its FLOPs); `size` is that of each side.

    Its numbers are random: a GPU whose power is limited multiplies zeros and ones faster.
    """
    rows = size * mesh.size
    keys = jax.random.split(jax.random.key(0))
    left = jax.device_put(jax.random.normal(keys[0], (rows, size), dtype), batch_sharding(mesh))
    right = jax.device_put(jax.random.normal(keys[1], (size, size), dtype), replicated(mesh))
    matmul = jax.jit(jnp.dot, compiler_options=compiler_options(onednn=False))
    return repeated([(matmul, left, right)]), 2.0 * rows * size * size


def passing_over(mesh: Mesh, num_bytes: int) -> tuple[Run, float]:
    """Returns (a pass over float32 memory in place, the bytes it reads and writes)."""
    count = num_bytes // 4 // mesh.size * mesh.size
    held = [jax.device_put(jnp.zeros(count), batch_sharding(mesh))]
    add = jax.jit(lambda x: x + 1, donate_argnums=0)

    def run(count: int = 1) -> None:
        for _ in range(count):
            held[0] = add(held[0])
        jax.block_until_ready(held[0])

    return run, 8.0 * count


def all_reduce(mesh: Mesh, num_values: int) -> Run | None:
    """Returns a sum over the devices of float32 values, as of a gradient; None for one device."""
    if mesh.size == 1:
        return None
    parts = jax.device_put(jnp.ones((mesh.size, num_values)), batch_sharding(mesh))
    total = jax.jit(lambda x: jnp.sum(x, axis=0), out_shardings=replicated(mesh))
    return repeated([(total, parts)])
