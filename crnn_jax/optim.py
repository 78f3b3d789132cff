"""Optimizers and learning-rate schedules by name, from optax."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from ml_collections import ConfigDict

# By the name that `optim.schedule` gives: (peak, steps after the warm-up) -> schedule.
SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant": lambda peak, rest: optax.constant_schedule(peak),
    "cosine": optax.cosine_decay_schedule,
    "linear": lambda peak, rest: optax.linear_schedule(peak, 0.0, rest),
}


def make_schedule(optim: ConfigDict, total_steps: int, warmup_steps: int) -> optax.Schedule:
    """Returns step -> learning rate: linear from 0 over the warm-up, then `optim.schedule` to 0.

    Args:
      optim: the config's `optim`.
      total_steps: at which cosine and linear reach 0; constant stays at the peak.
      warmup_steps: 0..total_steps.
    """
    peak, rest = optim.learning_rate, max(total_steps - warmup_steps, 1)
    after = SCHEDULES[optim.schedule](peak, rest)
    if warmup_steps == 0:
        return after
    return optax.join_schedules(
        [optax.linear_schedule(0.0, peak, warmup_steps), after], [warmup_steps]
    )


def decay_mask(params: Any) -> Any:
    """Returns a tree of bools: True for matrices and kernels, False for biases and norm scales."""
    return jax.tree.map(lambda array: array.ndim > 1, params)


def make_optimizer(
    optim: ConfigDict,
    schedule: optax.Schedule,
    total_steps: int,
    *,
    layer_decay: float,
    dtype: jnp.dtype,
) -> optax.GradientTransformation:
    """Returns the optimizer: [clipping,] adam, adamw, sgd or muon [, multipliers] [, lookahead].

    adamw and muon decay weights apart from the gradient (Loshchilov and Hutter 2019), sgd adds
    them to it (L2); none touches norms and biases. A learning rate is multiplied by `layer_decay`
    to the power of the layer's depth (`depths`). Parameters, gradients and state are float32;
    `dtype` is what muon multiplies its matrices in.
    """
    parts = [OPTIMIZERS[optim.name](optim, schedule, dtype)]
    if optim.clip_norm > 0:
        parts.insert(0, optax.clip_by_global_norm(optim.clip_norm))
    multipliers = {
        "bias": optim.bias_learning_rate_multiplier,
        "head": optim.head_learning_rate_multiplier,
    }
    if {*multipliers.values(), layer_decay} != {1.0}:
        parts.append(_multiply(multipliers, layer_decay))
    update = optax.chain(*parts) if len(parts) > 1 else parts[0]
    if optim.lookahead_steps > 0:
        alpha, ramp = optim.lookahead_alpha, optim.lookahead_ramp
        return lookahead(update, optim.lookahead_steps, alpha, ramp, total_steps)
    return update


def groups(params: Any) -> Any:
    """Returns a tree of names: 'head' (its matrix), 'matrix' (kernels elsewhere), 'bias', 'other'.

    The head is the last fully connected layer, at params["head"]; 'other' are norm scales and the
    weights of a consensus.
    """

    def name(path: Any, array: jax.Array) -> str:
        keys = [entry.key for entry in path]
        if array.ndim > 1:
            return "head" if keys[0] == "head" else "matrix"
        return "bias" if keys[-1].startswith("bias") else "other"

    return jax.tree_util.tree_map_with_path(name, params)


def depths(params: Any) -> Any:
    """Returns a tree of whole numbers: how many layers lie between an array's own and the head.

    0: the head; 1: the layers below it, and so on down to the trunk's first stage. Recurrent layers
    count as one together with the readout, those of the deep RNN as one for each grid, those of
    Sequencer2D as one for each block and one for the norm after them, a decoder as one, each stage
    of the trunk as one; a whitening layer belongs to the first stage. A layer without an array in
    the tree, such as a frozen one, does not count.
    """

    def height(path: Any, array: jax.Array) -> tuple[int, int]:
        del array
        top, inside = path[0].key, path[-2 if len(path) > 1 else 0].key
        if top == "trunk":
            return 0, int(inside.split("_")[1]) if "_" in inside else 0
        if top.startswith(("columns_", "rows_")):
            return 1, int(top.rpartition("_")[2])
        if top.startswith(("embed_", "block_")):  # stage S, and block I in it
            stage, _, block = top.partition("_")[2].partition("_")
            return 1, 1000 * int(stage) + int(block or 0)
        return {"recurrent": 1, "readout": 1, "decoder": 2, "norm": 2}.get(top, 3), 0

    heights = jax.tree_util.tree_map_with_path(height, params)
    is_height = lambda x: isinstance(x, tuple)  # noqa: E731
    ordered = sorted(set(jax.tree.leaves(heights, is_leaf=is_height)), reverse=True)
    return jax.tree.map(ordered.index, heights, is_leaf=is_height)


def _multiply(multipliers: dict[str, float], layer_decay: float) -> optax.GradientTransformation:
    """Multiplies the last updates of each array, and so its learning rate, its decay included."""

    def update(updates: Any, params: Any) -> Any:
        del params
        # A Python float takes the update's dtype; a group that is not named keeps its rate.
        factors = jax.tree.map(
            lambda group, depth: multipliers.get(group, 1.0) * layer_decay**depth,
            groups(updates),
            depths(updates),
        )
        return jax.tree.map(lambda update, factor: update * factor, updates, factors)

    return optax.stateless(update)


def _adam(
    optim: ConfigDict, schedule: optax.Schedule, dtype: jnp.dtype
) -> optax.GradientTransformation:
    del dtype
    return optax.adam(schedule, b1=optim.b1, b2=optim.b2)


def _adamw(
    optim: ConfigDict, schedule: optax.Schedule, dtype: jnp.dtype
) -> optax.GradientTransformation:
    del dtype
    return optax.adamw(
        schedule, b1=optim.b1, b2=optim.b2, weight_decay=optim.weight_decay, mask=decay_mask
    )


def _sgd(
    optim: ConfigDict, schedule: optax.Schedule, dtype: jnp.dtype
) -> optax.GradientTransformation:
    del dtype
    return optax.chain(
        optax.add_decayed_weights(optim.weight_decay, mask=decay_mask),
        optax.sgd(schedule, momentum=optim.momentum, nesterov=optim.nesterov),
    )


def _muon(
    optim: ConfigDict, schedule: optax.Schedule, dtype: jnp.dtype
) -> optax.GradientTransformation:
    """Muon for the matrices inside the network, AdamW for the head, biases and norms.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks": the momentum of
    a matrix is made nearly orthogonal by Newton-Schulz iterations. A convolution's kernel is the
    matrix (H W I, O); a recurrent layer's gates are one matrix, side by side. Each update is
    multiplied by sqrt(max(1, outputs / inputs)), as in the authors' code. The weights decay, where
    airbench keeps their norm constant instead. In bfloat16 the iterations multiply matrices of
    that type, as in the authors' code; the momentum before them is float32 all the same.
    """
    ratio = optim.muon_adamw_learning_rate / optim.learning_rate

    def dimensions(params: Any) -> Any:
        def of_kernel(array: jax.Array) -> optax.contrib.MuonDimensionNumbers:
            inputs = tuple(range(array.ndim - 1))
            return optax.contrib.MuonDimensionNumbers(inputs, array.ndim - 1)

        return jax.tree.map(of_kernel, params)

    # Without a momentum of its own: its state, made anew at each step, says nothing.
    orthogonal = optax.contrib.scale_by_muon(
        ns_steps=optim.muon_iterations,
        beta=0.0,
        nesterov=False,
        weight_dimension_numbers=dimensions,
    )
    in_float32 = dtype == jnp.float32

    def finish(updates: Any, params: Any) -> Any:
        del params
        if not in_float32:
            updates = optax.tree.cast(updates, dtype)
            updates, _ = orthogonal.update(updates, orthogonal.init(updates))
            updates = optax.tree.cast(updates, jnp.float32)
        return jax.tree.map(
            lambda x: x * max(1.0, x.shape[-1] / math.prod(x.shape[:-1])) ** 0.5, updates
        )

    muon = optax.chain(
        optax.contrib.scale_by_muon(
            ns_steps=optim.muon_iterations if in_float32 else 0,
            beta=optim.momentum,
            nesterov=optim.nesterov,
            weight_dimension_numbers=dimensions,
        ),
        optax.stateless(finish),
        optax.add_decayed_weights(optim.weight_decay),
        optax.scale_by_learning_rate(schedule),
    )
    rest = _adamw(optim, lambda step: ratio * schedule(step), dtype)

    def optimizer_of(params: Any) -> Any:
        return jax.tree.map(lambda name: "muon" if name == "matrix" else "adamw", groups(params))

    return optax.partition({"muon": muon, "adamw": rest}, optimizer_of)


# By the name that `optim.name` gives.
OPTIMIZERS: dict[
    str, Callable[[ConfigDict, optax.Schedule, jnp.dtype], optax.GradientTransformation]
] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
    "muon": _muon,
}


class LookaheadState(NamedTuple):
    """The state of `lookahead`: what it wraps, its own weights, and the steps done."""

    fast: optax.OptState
    slow: Any
    step: jax.Array  # int32


def lookahead(
    fast: optax.GradientTransformation,
    every: int,
    alpha: float,
    ramp: float,
    total_steps: int,
) -> optax.GradientTransformation:
    """Returns an optimizer that every `every` steps starts again from the weights' slow average.

    Zhang et al. 2019, "Lookahead Optimizer: k steps forward, 1 step back": the slow weights move
    the fraction alpha towards the fast ones, which then are set to them. At the last step too, so
    that a run ends with its slow weights. With a ramp the fraction at step t is
    1 - (1 - alpha) (t / total_steps)**ramp: airbench (Jordan 2024) has every 5, alpha 0.226 (there
    a decay of 0.95**5) and ramp 3. (optax's own keeps a pair of weights in place of the parameters,
    which every reader of a checkpoint would have to know.)

    Args:
      fast: the optimizer of the steps in between; its momentum goes on.
      every: k, at least 1.
      alpha: in (0, 1]; 1 leaves the weights to `fast`.
      ramp: 0 or more; 0: a constant alpha.
      total_steps: steps of the run.
    """

    def init(params: Any) -> LookaheadState:
        # A copy: the state is donated to the step, and a buffer can be given away only once.
        slow = jax.tree.map(jnp.copy, params)
        return LookaheadState(fast.init(params), slow, jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, LookaheadState]:
        updates, fast_state = fast.update(updates, state.fast, params)
        step = state.step + 1
        fraction = 1 - (1 - alpha) * (step.astype(jnp.float32) / total_steps) ** ramp
        meet = (step % every == 0) | (step == total_steps)
        moved = jax.tree.map(
            lambda slow, param, update: slow + fraction * (param + update - slow),
            state.slow,
            params,
            updates,
        )
        slow = jax.tree.map(lambda old, new: jnp.where(meet, new, old), state.slow, moved)
        updates = jax.tree.map(
            lambda update, param, new: jnp.where(meet, new - param, update), updates, params, slow
        )
        return updates, LookaheadState(fast_state, slow, step)

    return optax.GradientTransformation(init, update)
