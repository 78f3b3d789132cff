"""All steps of a GRU layer in one kernel for GPUs, and all steps back in another (Pallas, Triton).

XLA runs a recurrence as a loop of small kernels: a product, then what follows it elementwise, each
of them started anew and each reading the recurrent weights again. Here a program of the grid owns a
block of the batch and a block of the units: its slice of the recurrent weights and its block of the
state stay on the chip over all T steps.

Where one program owns all units, no program waits for another. Else the programs of one block of
the batch exchange the state (backward: the gates' gradients) through global memory, step by step: a
program writes its part and adds one to a count of the block and step, and reads the others' parts
once the count says that all have. So all programs must run at the same time: the grid never has
more of them than the device has multiprocessors (`tile.choose_tile`), and a device places all
programs of one kernel before those of the next.

The Triton side of Pallas is to be removed from JAX some day; `fused` then has to move to Mosaic.
"""

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from crnn_jax.kernels.tile import NUM_GATES, Tile

Array = jax.Array
Ref = Any  # Pallas's: an array in the device's memory

warnings.filterwarnings("ignore", message="The Pallas Triton backend is deprecated")

_READ_AHEAD = 2  # parts of a step's input that are read before they are multiplied


class Setting(NamedTuple):
    """What is known of a kernel when it is traced."""

    tile: Tile
    num_steps: int
    num_units: int
    reverse: bool
    masked: bool
    dtype: Any  # what products read, and what is kept for the backward pass
    flops: int  # those of all steps, without padding; crnn_jax/flops.py reads it
    interpret: bool  # on a CPU, for tests: one program after another, so that none may wait


def forward(
    gate_x_BTG: Array,
    kernel_h: Array,
    bias_h_N: Array,
    mask_BT: Array | None,
    setting: Setting,
    *,
    keep: bool,
) -> tuple[Array, ...]:
    """Returns (state_BTN float32, before_BTN, kept_4BTN if `keep`) of a GRU from a zero state.

    The equations are `cells.gru`'s. `before` is the state before each step, in `setting.dtype`;
    `kept` are the reset and update gate, the candidate and its recurrent product, likewise.

    Args:
      gate_x_BTG: projected inputs with their bias, G = 3N; B and N as padded.
      kernel_h: (N, 3N), in `setting.dtype`.
      bias_h_N: float32, inside the reset gate's product.
      mask_BT: int8; where 0 the step is the identity.
      setting: see there.
      keep: for a backward pass.
    """
    batch, num_steps, _ = gate_x_BTG.shape
    shape = (batch, num_steps, setting.num_units)
    outputs = [jax.ShapeDtypeStruct(shape, jnp.float32)]
    outputs += [jax.ShapeDtypeStruct(shape, setting.dtype)]
    outputs += [jax.ShapeDtypeStruct((4, *shape), setting.dtype)] * keep
    masks = () if mask_BT is None else (mask_BT,)
    kernel = functools.partial(_forward_kernel, keep=keep)
    return _call(kernel, (gate_x_BTG, kernel_h, bias_h_N, *masks), outputs, setting)


def backward(
    kept_4BTN: Array,
    before_BTN: Array,
    state_grad_BTN: Array,
    last_grad_BN: Array,
    kernel_h: Array,
    mask_BT: Array | None,
    setting: Setting,
) -> tuple[Array, ...]:
    """Returns the gradients (of gate_x_BTG, of the candidate's recurrent product BTN).

    The recurrent product of the reset and update gate has the same gradient as gate_x.

    Args:
      kept_4BTN: from `forward`, as is `before_BTN`.
      before_BTN: see there.
      state_grad_BTN: float32.
      last_grad_BN: gradient of the state after the last step, float32.
      kernel_h: (N, 3N), as `forward` had it.
      mask_BT: as `forward` had it.
      setting: see there.
    """
    batch, num_steps, size = before_BTN.shape
    outputs = [
        jax.ShapeDtypeStruct((batch, num_steps, NUM_GATES * size), setting.dtype),
        jax.ShapeDtypeStruct(before_BTN.shape, setting.dtype),
    ]
    masks = () if mask_BT is None else (mask_BT,)
    inputs = (kept_4BTN, before_BTN, state_grad_BTN, last_grad_BN, kernel_h.T, *masks)
    return _call(_backward_kernel, inputs, outputs, setting)


def _call(
    kernel: Callable[..., None], inputs: tuple[Array, ...], outputs: list[Any], setting: Setting
) -> tuple[Array, ...]:
    tile, batch = setting.tile, outputs[0].shape[0]
    grid = (batch // tile.batch, setting.num_units // tile.units)
    # Programs count their steps in an array that starts at zero: an input that is also an output.
    counts = jnp.zeros((grid[0], setting.num_steps), jnp.int32)
    num_inputs, shapes = len(inputs), [*outputs, jax.ShapeDtypeStruct(counts.shape, counts.dtype)]

    def body(*refs: Ref) -> None:
        kernel(*refs[:num_inputs], *refs[num_inputs + 1 :], setting=setting)

    *results, _ = pl.pallas_call(
        body,
        out_shape=shapes,
        grid=grid,
        input_output_aliases={num_inputs: len(outputs)},
        compiler_params=plgpu.CompilerParams(num_warps=tile.warps, num_stages=1),
        cost_estimate=pl.CostEstimate(flops=setting.flops, transcendentals=0, bytes_accessed=0),
        interpret=setting.interpret,
        name=f"gru{getattr(kernel, 'func', kernel).__name__.removesuffix('_kernel')}",
    )(*inputs, counts)
    return tuple(results)


class _Place:
    """Which part of the arrays this program reads and writes, and how it waits for the others."""

    def __init__(self, setting: Setting, count_ref: Ref) -> None:
        tile = setting.tile
        self.setting, self.count_ref, self.block = setting, count_ref, pl.program_id(0)
        self.rows = pl.ds(self.block * tile.batch, tile.batch)
        self.first = pl.program_id(1) * tile.units
        self.units = pl.ds(self.first, tile.units)
        self.alone = tile.alone(setting.num_units)
        self.others = setting.num_units // tile.units - 1

    def gate(self, index: int) -> Any:
        """Returns this program's units of a gate in an array of all gates."""
        return pl.ds(index * self.setting.num_units + self.first, self.setting.tile.units)

    def depths(self, gate: int = 0) -> list[Any]:
        """Returns all units of a gate, a product's depth at a time."""
        size, depth = self.setting.num_units, self.setting.tile.depth
        return [pl.ds(gate * size + start, depth) for start in range(0, size, depth)]

    def signal(self, step: Any) -> None:
        """Says that this program's part of a step is written."""
        if self.alone or self.setting.interpret:
            return
        plgpu.debug_barrier()  # all threads' writes come before the count
        if self.others:
            plgpu.atomic_add(self.count_ref, (self.block, jnp.int32(step)), 1)

    def wait(self, step: Any) -> None:
        """Returns once all programs of this block of the batch have signalled the step."""
        if not self.others:
            return

        def poll(_: Any) -> Array:
            return plgpu.atomic_add(self.count_ref, (self.block, step), 0)

        lax.while_loop(lambda count: count <= self.others, poll, jnp.int32(0))


def _read(loads: list[Callable[[], Array]]) -> Iterator[Array]:
    """Yields what the loads return, each begun while the one before it is used."""
    ready = [load() for load in loads[:_READ_AHEAD]]
    for load in [*loads[_READ_AHEAD:], None]:
        yield ready.pop(0)
        if load is not None:
            ready.append(load())
    yield from ready


def _product(left: Array, right: Array) -> Array:
    precision = lax.Precision.HIGHEST if left.dtype == jnp.float32 else None  # no TF32
    return plgpu.dot(left, right, precision=precision)


def _forward_kernel(*refs: Ref, setting: Setting, keep: bool) -> None:
    gate_x_ref, kernel_ref, bias_ref, *others = refs
    mask_ref = others.pop(0) if setting.masked else None
    state_ref, before_ref, *kept_refs, count_ref = others
    at, dtype, num_steps = _Place(setting, count_ref), setting.dtype, setting.num_steps
    weights = [[kernel_ref[d, at.gate(g)] for g in range(NUM_GATES)] for d in at.depths()]
    bias_N = bias_ref[at.units]

    def step(index: Any, hidden_BN: Array) -> Array:
        """The step `index` of those in the order of the recurrence; the first one is an int."""
        first = isinstance(index, int)
        t = num_steps - 1 - index if setting.reverse else index
        following = t - 1 if setting.reverse else t + 1
        gates = [gate_x_ref[at.rows, t, at.gate(g)] for g in range(NUM_GATES)]
        reset_x, update_x, new_x = (gate.astype(jnp.float32) for gate in gates)
        sums = [reset_x, update_x, jnp.broadcast_to(bias_N, hidden_BN.shape)]
        if not first:  # the first state is zero
            if at.alone:
                loads = [lambda: hidden_BN.astype(dtype)]
            else:
                at.wait(index - 1)
                loads = [lambda d=d: before_ref[at.rows, t, d] for d in at.depths()]
            for state_BD, weight in zip(_read(loads), weights, strict=True):
                sums = [
                    total + _product(state_BD, w) for total, w in zip(sums, weight, strict=True)
                ]
        reset, update = jax.nn.sigmoid(sums[0]), jax.nn.sigmoid(sums[1])
        new = jnp.tanh(new_x + reset * sums[2])
        after_BN = (1.0 - update) * new + update * hidden_BN
        if mask_ref is not None:
            after_BN = jnp.where(mask_ref[at.rows, t][:, None] != 0, after_BN, hidden_BN)
        rounded_BN = after_BN.astype(dtype)
        if first:
            before_ref[at.rows, t, at.units] = jnp.zeros_like(rounded_BN)
            if num_steps > 1:
                before_ref[at.rows, following, at.units] = rounded_BN
        else:
            more = jnp.broadcast_to(index + 1 < num_steps, rounded_BN.shape)
            plgpu.store(before_ref.at[at.rows, following, at.units], rounded_BN, mask=more)
        at.signal(index)
        state_ref[at.rows, t, at.units] = after_BN
        if keep:
            for place, value in enumerate((reset, update, new, sums[2])):
                kept_refs[0][place, at.rows, t, at.units] = value.astype(dtype)
        return after_BN

    zero_BN = jnp.zeros((setting.tile.batch, setting.tile.units), jnp.float32)
    lax.fori_loop(1, num_steps, step, step(0, zero_BN))


def _backward_kernel(*refs: Ref, setting: Setting) -> None:
    kept_ref, before_ref, state_grad_ref, last_grad_ref, kernel_ref, *others = refs
    mask_ref = others.pop(0) if setting.masked else None
    gate_x_ref, product_ref, count_ref = others
    at, dtype, num_steps = _Place(setting, count_ref), setting.dtype, setting.num_steps
    weights = [kernel_ref[d, at.units] for g in range(NUM_GATES) for d in at.depths(g)]

    def loads_of(t: Any, gates: list[Array]) -> list[Callable[[], Array]]:
        if at.alone:
            return [lambda gate=gate: gate for gate in gates]
        loads = [lambda d=d: gate_x_ref[at.rows, t, d] for g in (0, 1) for d in at.depths(g)]
        return loads + [lambda d=d: product_ref[at.rows, t, d] for d in at.depths()]

    def step(index: Any, carry: list[Array]) -> list[Array]:
        """As the forward kernel's, from the last step on; the carry is of the step after it."""
        t = index if setting.reverse else num_steps - 1 - index
        kept = [kept_ref[place, at.rows, t, at.units].astype(jnp.float32) for place in range(4)]
        reset, update, new, product = kept
        before = before_ref[at.rows, t, at.units].astype(jnp.float32)
        grad, *gates = carry
        grad += state_grad_ref[at.rows, t, at.units]
        if not isinstance(index, int):
            if not at.alone:
                at.wait(index - 1)
            after = t - 1 if setting.reverse else t + 1
            for gate_BD, weight in zip(_read(loads_of(after, gates)), weights, strict=True):
                grad += _product(gate_BD, weight)
        new_x = grad * (1.0 - update) * (1.0 - new * new)
        update_x = grad * (before - new) * update * (1.0 - update)
        reset_x = new_x * product * reset * (1.0 - reset)
        grads, direct = [reset_x, update_x, new_x * reset, new_x], grad * update
        if mask_ref is not None:
            valid_B1 = mask_ref[at.rows, t][:, None] != 0
            grads = [jnp.where(valid_B1, value, 0.0) for value in grads]
            direct = jnp.where(valid_B1, direct, grad)
        grads = [value.astype(dtype) for value in grads]
        gate_x_ref[at.rows, t, at.gate(0)] = grads[0]
        gate_x_ref[at.rows, t, at.gate(1)] = grads[1]
        product_ref[at.rows, t, at.units] = grads[2]
        at.signal(index)
        gate_x_ref[at.rows, t, at.gate(2)] = grads[3]
        return [direct, *grads[:3]] if at.alone else [direct]

    lax.fori_loop(1, num_steps, step, step(0, [last_grad_ref[at.rows, at.units]]))
