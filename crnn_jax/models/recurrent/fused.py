"""The GRU whose steps all run in one kernel (`kernels/gru.py`), as a function with a gradient.

Here is what is left around the kernels: the products over all steps at once, examples and units
added as zeros until they fill the kernels' blocks, and the split of the batch over devices.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.custom_partitioning import custom_partitioning

from crnn_jax.errors import UserError
from crnn_jax.kernels.tile import Tile, choose_tile, pad_units
from crnn_jax.models.recurrent.weights import Settings, Weights, affine, matmul

if TYPE_CHECKING:
    # Elsewhere it is imported where it is used: Pallas takes its time.
    from crnn_jax.kernels import gru

Array = jax.Array

# Shared memory that a block may have, bytes, by compute capability; another GPU has the least.
_SHARED_MEMORY = {"8.0": 166_912, "9.0": 232_448, "10.0": 232_448}
_LEAST_MEMORY = 101_376


class Device(NamedTuple):
    """What the choice of a tile depends on."""

    cores: int  # multiprocessors
    memory: int  # bytes of shared memory that a block may have


# Without a GPU the kernels are interpreted, for tests: as an H100 would run them.
_H100 = Device(132, 232_448)


def _device() -> Device:
    if jax.default_backend() != "gpu":
        return _H100
    device = jax.local_devices()[0]
    capability = str(getattr(device, "compute_capability", ""))
    return Device(device.core_count, _SHARED_MEMORY.get(capability, _LEAST_MEMORY))


def fits(num_units: int, batch: int, dtype: Any) -> bool:
    """Returns whether the kernels can keep their parts of the recurrent weights (N, 3N) on chip.

    Args:
      num_units: N.
      batch: examples on one device.
      dtype: what the products read.
    """
    return choose_tile(batch, pad_units(num_units), dtype, *_device()) is not None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def fused_recurrence(
    settings: Settings, feature_BTD: Array, mask_BT: Array | None, weights: Weights
) -> tuple[Array, Array]:
    """Returns (state_BTN, last_BN) of a GRU from a zero state, float32.

    As `hoisted`, but that examples come first, and that the projected inputs, what is kept for
    the backward pass and the gates' gradients are in `settings.dtype`.

    Args:
      settings: for the cell 'gru'.
      feature_BTD: any float dtype.
      mask_BT: bool; where False the step is the identity.
      weights: the layer's.

    Raises:
      UserError: the weights do not fit the device (`fits`).
    """
    return _forward(settings, feature_BTD, mask_BT, weights, keep=False)[0]


def _forward(
    settings: Settings, feature_BTD: Array, mask_BT: Array | None, weights: Weights, *, keep: bool
) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
    """Returns ((state_BTN, last_BN), what the kernel kept)."""
    size = weights.kernel_h.shape[0]
    gate_x_BTG = affine(feature_BTD, weights.kernel_x, weights.bias, settings.dtype)
    inputs = [gate_x_BTG.astype(settings.dtype), weights.kernel_h.astype(settings.dtype)]
    inputs += [weights.bias_h[2 * size :], *_masks(mask_BT)]
    state_BTN, *kept = _forward_program(settings, mask_BT is not None, keep)(*inputs)
    return (state_BTN, state_BTN[:, 0 if settings.reverse else -1]), tuple(kept)


def _forward_rule(
    settings: Settings, feature_BTD: Array, mask_BT: Array | None, weights: Weights
) -> tuple[tuple[Array, Array], Any]:
    ends, kept = _forward(settings, feature_BTD, mask_BT, weights, keep=True)
    return ends, (feature_BTD, mask_BT, weights, kept)


def _backward_rule(settings: Settings, saved: Any, grads: tuple[Array, Array]) -> tuple:
    feature_BTD, mask_BT, weights, (before_BTN, kept_4BTN) = saved
    size, dtype = weights.kernel_h.shape[0], settings.dtype
    inputs = [kept_4BTN, before_BTN, *grads, weights.kernel_h.astype(dtype), *_masks(mask_BT)]
    x_grad_BTG, product_grad_BTN = _backward_program(settings, mask_BT is not None)(*inputs)

    def over_time(value_BTD: Array, grad_BTG: Array) -> Array:
        both = (((0, 1), (0, 1)), ((), ()))  # not one axis: the batch may be split over devices
        return lax.dot_general(value_BTD, grad_BTG, both, preferred_element_type=jnp.float32)

    # The barriers keep XLA from joining these two products into one, over copies of their arrays.
    gates_grad = lax.optimization_barrier(over_time(before_BTN, x_grad_BTG))
    new_grad = over_time(lax.optimization_barrier(before_BTN), product_grad_BTN)
    weights_grad = Weights(
        over_time(feature_BTD.astype(dtype), x_grad_BTG),
        x_grad_BTG.astype(jnp.float32).sum((0, 1)),
        jnp.concatenate([gates_grad[:, : 2 * size], new_grad], axis=1),
        jnp.pad(product_grad_BTN.astype(jnp.float32).sum((0, 1)), (2 * size, 0)),
    )
    feature_grad_BTD = matmul(x_grad_BTG, weights.kernel_x.T, dtype)
    return feature_grad_BTD.astype(feature_BTD.dtype), None, weights_grad


fused_recurrence.defvjp(_forward_rule, _backward_rule)


def _masks(mask_BT: Array | None) -> list[Array]:
    return [] if mask_BT is None else [mask_BT.astype(jnp.int8)]


# A device runs the kernels on its own examples: XLA cannot split a kernel by itself. The rules name
# each axis; all but the examples `b` are whole on every device.


@functools.cache
def _forward_program(settings: Settings, masked: bool, keep: bool) -> Callable[..., Any]:
    from crnn_jax.kernels import gru

    def run(gate_x_BTG: Array, kernel_h: Array, bias_h_N: Array, *masks: Array) -> Any:
        batch, num_steps, _ = gate_x_BTG.shape
        size = kernel_h.shape[0]
        setting = _setting(settings, batch, num_steps, size, masked=masked)
        outputs = gru.forward(
            _pad(gate_x_BTG, setting, gates=3),
            _pad_kernel(kernel_h, setting),
            jnp.pad(bias_h_N, (0, setting.num_units - size)),
            _pad_mask(masks, setting),
            setting,
            keep=keep,
        )
        return tuple(value[..., :batch, :, :size] for value in outputs)

    rule = f"b t g, n g, n{', b t' * masked} -> b t n, b t n{', k b t n' * keep}"
    return _split_by_examples(run, rule, "tgn" + "k" * keep)


@functools.cache
def _backward_program(settings: Settings, masked: bool) -> Callable[..., Any]:
    from crnn_jax.kernels import gru

    def run(
        kept_4BTN: Array,
        before_BTN: Array,
        state_grad_BTN: Array,
        last_grad_BN: Array,
        kernel_h: Array,
        *masks: Array,
    ) -> Any:
        batch, num_steps, size = before_BTN.shape
        setting = _setting(settings, batch, num_steps, size, masked=masked)
        x_grad_BTG, product_grad_BTN = gru.backward(
            jax.vmap(lambda kept_BTN: _pad(kept_BTN, setting, gates=1))(kept_4BTN),
            _pad(before_BTN, setting, gates=1),
            _pad(state_grad_BTN, setting, gates=1),
            _pad(last_grad_BN, setting, gates=1),
            _pad_kernel(kernel_h, setting),
            _pad_mask(masks, setting),
            setting,
        )
        gates = x_grad_BTG[:batch].reshape(batch, num_steps, 3, -1)[..., :size]
        x_grad_BTG = gates.reshape(batch, num_steps, 3 * size)
        return x_grad_BTG, product_grad_BTN[:batch, :, :size]

    rule = f"k b t n, b t n, b t n, b n, n g{', b t' * masked} -> b t g, b t n"
    return _split_by_examples(run, rule, "ktng")


def _split_by_examples(run: Callable[..., Any], rule: str, whole: str) -> Callable[..., Any]:
    def partition(mesh: Any, inputs: Any, outputs: Any) -> tuple[Any, ...]:
        of_inputs, of_outputs = jax.tree.map(lambda value: value.sharding, (inputs, outputs))
        return mesh, run, of_outputs, of_inputs

    split = custom_partitioning(run)
    split.def_partition(partition, sharding_rule=rule, need_replication_factors=tuple(whole))
    return split


def _setting(
    settings: Settings, batch: int, num_steps: int, size: int, *, masked: bool
) -> "gru.Setting":
    from crnn_jax.kernels import gru

    assert settings.cell == "gru", settings.cell
    num_units = pad_units(size)
    tile = choose_tile(batch, num_units, settings.dtype, *_device())
    if tile is None:
        raise UserError(
            "config key 'model.implementation' is 'fused', which expects recurrent weights that "
            f"fit the GPU's multiprocessors, found {size} units and {batch} examples a device in "
            f"{jnp.dtype(settings.dtype).name}: set it to 'auto' or 'hoisted'"
        )
    interpret = jax.default_backend() != "gpu"
    if interpret:  # one program after another: none may wait for another
        tile = Tile(16, num_units, num_units, 4)
    return gru.Setting(
        tile=tile,
        num_steps=num_steps,
        num_units=num_units,
        reverse=settings.reverse,
        masked=masked,
        dtype=settings.dtype,
        flops=2 * batch * num_steps * 3 * size**2,
        interpret=interpret,
    )


def _pad(value: Array, setting: "gru.Setting", *, gates: int) -> Array:
    """Returns (B, ..., gates * N) with the kernels' numbers of examples and units, added as zeros.

    A unit whose weights are all zero stays at zero, and none reads it.
    """
    split = value.reshape(*value.shape[:-1], gates, -1)
    more = [(0, 0)] * (split.ndim - 1) + [(0, setting.num_units - split.shape[-1])]
    more[0] = (0, -value.shape[0] % setting.tile.batch)
    padded = jnp.pad(split, more)
    return padded.reshape(*padded.shape[:-2], -1)


def _pad_kernel(kernel_h: Array, setting: "gru.Setting") -> Array:
    size = kernel_h.shape[0]
    more = setting.num_units - size
    gates = jnp.pad(kernel_h.reshape(size, 3, size), ((0, more), (0, 0), (0, more)))
    return gates.reshape(setting.num_units, -1)


def _pad_mask(masks: tuple[Array, ...], setting: "gru.Setting") -> Array | None:
    if not masks:
        return None
    return jnp.pad(masks[0], ((0, -masks[0].shape[0] % setting.tile.batch), (0, 0)))
