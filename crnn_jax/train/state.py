"""TrainState: everything that a training step changes, and nothing else."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from jax.sharding import Mesh

from crnn_jax.sharding import tree_shardings
from crnn_jax.train.frozen import overlay, select, without

Tree = Any


@struct.dataclass
class TrainState:
    """The state of a run. A checkpoint is this and no more: the data position is the step."""

    step: jax.Array  # int32: optimizer steps done
    seed: jax.Array  # uint32
    norm: Tree  # {"mean_C", "std_C"} of the training split: a checkpoint can predict by itself
    params: Tree  # float32
    batch_stats: Tree  # float32; empty for a model without BatchNorm
    opt_state: Tree  # the trained parameters'
    # {"params", "batch_stats"} of what is not frozen: sums from 0, see `variables`; None: none
    ema: Tree
    skipped: Tree = None  # {"in_a_row", "total"} int32, updates; None if they are never skipped


def make_init(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    input_shape: tuple[int, ...],
    *,
    ema: bool,
    frozen: Sequence[str] = (),
    skips: bool = False,
) -> Callable[[jax.Array, Tree], TrainState]:
    """Returns init(seed, norm) -> the state at step 0; pure.

    `input_shape` is (H, W, C), or (F, H, W, C) of clips. `norm` is {"mean_C", "std_C"}, and
    "whitening_HWIO" for a model with a whitening layer, which becomes that layer's kernel. What the
    patterns `frozen` match has no part in the optimizer's state and the average.
    """

    def init(seed: jax.Array, norm: Tree) -> TrainState:
        pixels = jnp.zeros((1, *input_shape), jnp.float32)
        key = jax.random.key(seed)
        rngs = {name: jax.random.fold_in(key, i) for i, name in enumerate(("params", *RANDOM))}
        variables = model.init(rngs, pixels, train=False)
        params: Tree = variables["params"]
        batch_stats: Tree = variables.get("batch_stats", {})
        norm = dict(norm)
        if "whiten" in batch_stats.get("trunk", {}):
            batch_stats = _with_whitening(batch_stats, norm.pop("whitening_HWIO"))
        trained = without(params, frozen)
        average = {"params": trained, "batch_stats": without(batch_stats, frozen)}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            seed=seed,
            norm=norm,
            params=params,
            batch_stats=batch_stats,
            opt_state=optimizer.init(trained),
            ema=jax.tree.map(jnp.zeros_like, average) if ema else None,
            skipped=no_skips() if skips else None,
        )

    return init


def no_skips() -> dict[str, jax.Array]:
    """Returns `TrainState.skipped` of a run that has skipped no update."""
    return {"in_a_row": jnp.zeros((), jnp.int32), "total": jnp.zeros((), jnp.int32)}


def _with_whitening(batch_stats: Tree, kernel_HWIO: jax.Array) -> Tree:
    expected = batch_stats["trunk"]["whiten"]["kernel"].shape
    if kernel_HWIO.shape != expected:
        raise ValueError(f"expected a whitening kernel {expected}, found {kernel_HWIO.shape}")
    return {**batch_stats, "trunk": {**batch_stats["trunk"], "whiten": {"kernel": kernel_HWIO}}}


def init_state(
    init: Callable[[jax.Array, Tree], TrainState], seed: int, norm: dict[str, Any], mesh: Mesh
) -> TrainState:
    """Returns the state at step 0, split over the mesh by the rules, made by one jitted program."""
    # On a CPU the compiler's passes take three times as long as what they are to speed up, once.
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    options = {"xla_backend_optimization_level": 1} if on_cpu else None
    # Arrays of the host, which all processes of a run have alike.
    arguments = np.uint32(seed), {k: np.asarray(v, np.float32) for k, v in norm.items()}
    shardings = tree_shardings(jax.eval_shape(init, *arguments), mesh)
    program = jax.jit(init, out_shardings=shardings, compiler_options=options)
    return program(*arguments)


# The streams of random numbers that a model may draw from in training.
RANDOM = ("dropout", "snippet")


def step_rngs(state: TrainState) -> dict[str, jax.Array]:
    """Returns {"dropout": key, ...} for this step: a function of (seed, step) alone."""
    key = jax.random.fold_in(jax.random.key(state.seed), state.step)
    return {name: jax.random.fold_in(key, i) for i, name in enumerate(RANDOM)}


def update_ema(state: TrainState, decay: float) -> TrainState:
    """Returns the state with its averages moved by 1 - decay towards the present weights."""
    if state.ema is None:
        return state
    now = select({"params": state.params, "batch_stats": state.batch_stats}, state.ema)
    ema = jax.tree.map(lambda mean, x: decay * mean + (1 - decay) * x, state.ema, now)
    return dataclasses.replace(state, ema=ema)


def variables(state: TrainState, weights: str, ema_decay: float) -> dict[str, Tree]:
    """Returns the model's {"params", "batch_stats"}, the last ones or their average.

    The average starts at 0 and is divided by 1 - decay^step, so that it has no bias towards the
    initialisation, as Adam's moments (Kingma and Ba 2015, section 3).
    """
    last = {"params": state.params, "batch_stats": state.batch_stats}
    if weights == "last":
        return last
    started = state.step > 0  # before the first step there is nothing to average
    debias = 1 - jnp.float32(ema_decay) ** state.step.astype(jnp.float32)
    divisor = jnp.where(started, debias, 1.0)
    averaged = jax.tree.map(
        lambda mean, now: jnp.where(started, mean / divisor, now),
        state.ema,
        select(last, state.ema),
    )
    return overlay(last, averaged)
