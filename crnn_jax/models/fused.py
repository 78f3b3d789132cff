"""The GRU whose steps all run in one kernel (`kernels/gru.py`), as a function with a gradient."""

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from crnn_jax.models.recurrence import Settings, Weights, matmul

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
      dtype: of the products.
    """
    from crnn_jax.kernels import gru

    return gru.choose_tile(batch, gru.pad_units(num_units), dtype, *_device()) is not None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def fused_recurrence(
    settings: Settings, feature_BTD: Array, mask_BT: Array | None, weights: Weights
) -> tuple[Array, Array]:
    """Returns (state_BTN, last_BN) of a GRU from a zero state, float32.

    As `recurrence`, but examples come first, gates are kept in `settings.dtype`, and so are the
    gates' gradients before they are summed over the steps.

    Args:
      settings: of the cell 'gru'.
      feature_BTD: any float dtype.
      mask_BT: bool; where False the step is the identity.
      weights: of the layer.

    Raises:
      ValueError: no tile of the weights fits the device (`fits`).
    """
    return _forward(settings, feature_BTD, mask_BT, weights, keep=False)[0]


def _forward(
    settings: Settings, feature_BTD: Array, mask_BT: Array | None, weights: Weights, *, keep: bool
) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
    """Returns ((state_BTN, last_BN), what the kernels kept, padded)."""
    from crnn_jax.kernels import gru

    batch, size = feature_BTD.shape[0], weights.kernel_h.shape[0]
    setting = _setting(settings, feature_BTD, mask_BT, weights)
    gate_x_BTG = matmul(feature_BTD, weights.kernel_x, settings.dtype) + weights.bias
    state_BTN, *kept = gru.forward(
        _pad(gate_x_BTG.astype(settings.dtype), setting, gates=3),
        _pad_kernel(weights, setting),
        jnp.pad(weights.bias_h[2 * size :], (0, setting.num_units - size)),
        _pad_mask(mask_BT, setting),
        setting,
        keep=keep,
    )
    state_BTN = state_BTN[:batch, :, :size]
    return (state_BTN, state_BTN[:, 0 if settings.reverse else -1]), tuple(kept)


def _forward_rule(
    settings: Settings, feature_BTD: Array, mask_BT: Array | None, weights: Weights
) -> tuple[tuple[Array, Array], Any]:
    ends, kept = _forward(settings, feature_BTD, mask_BT, weights, keep=True)
    return ends, (feature_BTD, mask_BT, weights, kept)


def _backward_rule(settings: Settings, saved: Any, grads: tuple[Array, Array]) -> tuple:
    from crnn_jax.kernels import gru

    feature_BTD, mask_BT, weights, (before_BTN, kept_4BTN) = saved
    batch, size = feature_BTD.shape[0], weights.kernel_h.shape[0]
    setting = _setting(settings, feature_BTD, mask_BT, weights)
    gates_grad, product_grad_BTN = gru.backward(
        kept_4BTN,
        before_BTN,
        _pad(grads[0], setting, gates=1),
        _pad(grads[1], setting, gates=1),
        _pad_kernel(weights, setting),
        _pad_mask(mask_BT, setting),
        setting,
    )
    gates_grad = gates_grad[:batch].reshape(*gates_grad[:batch].shape[:2], 3, -1)[..., :size]
    x_grad_BTG = gates_grad.reshape(*gates_grad.shape[:2], 3 * size)
    before_BTN, product_grad_BTN = (
        value[:batch, :, :size] for value in (before_BTN, product_grad_BTN)
    )

    def over_time(value_BTD: Array, grad_BTG: Array) -> Array:
        both = (((0, 1), (0, 1)), ((), ()))  # not one axis: the batch may be split over devices
        return lax.dot_general(value_BTD, grad_BTG, both, preferred_element_type=jnp.float32)

    # The barriers keep XLA from joining these two products into one over joined arrays.
    kernel_h_grad = lax.optimization_barrier(over_time(before_BTN, x_grad_BTG))
    new_grad = over_time(lax.optimization_barrier(before_BTN), product_grad_BTN)
    weights_grad = Weights(
        over_time(feature_BTD.astype(settings.dtype), x_grad_BTG),
        x_grad_BTG.astype(jnp.float32).sum((0, 1)),
        jnp.concatenate([kernel_h_grad[:, : 2 * size], new_grad], axis=1),
        jnp.pad(product_grad_BTN.astype(jnp.float32).sum((0, 1)), (2 * size, 0)),
    )
    feature_grad_BTD = matmul(x_grad_BTG, weights.kernel_x.T, settings.dtype)
    return feature_grad_BTD.astype(feature_BTD.dtype), None, weights_grad


fused_recurrence.defvjp(_forward_rule, _backward_rule)


def _setting(
    settings: Settings, feature_BTD: Array, mask_BT: Array | None, weights: Weights
) -> "gru.Setting":
    from crnn_jax.kernels import gru

    assert settings.cell == "gru", settings.cell
    batch, num_steps, _ = feature_BTD.shape
    size = weights.kernel_h.shape[0]
    num_units = gru.pad_units(size)
    tile = gru.choose_tile(batch, num_units, settings.dtype, *_device())
    if tile is None:
        raise ValueError(
            f"'fused' expects recurrent weights that fit the GPU's multiprocessors, found {size} "
            f"units and {batch} examples in {settings.dtype}: use the implementation 'hoisted'"
        )
    return gru.Setting(
        tile=tile,
        num_steps=num_steps,
        num_units=num_units,
        reverse=settings.reverse,
        masked=mask_BT is not None,
        dtype=settings.dtype,
        flops=2 * batch * num_steps * weights.kernel_h.size,
        interpret=jax.default_backend() != "gpu",
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


def _pad_kernel(weights: Weights, setting: "gru.Setting") -> Array:
    size = weights.kernel_h.shape[0]
    more = setting.num_units - size
    gates = jnp.pad(weights.kernel_h.reshape(size, 3, size), ((0, more), (0, 0), (0, more)))
    return gates.reshape(setting.num_units, -1).astype(setting.dtype)


def _pad_mask(mask_BT: Array | None, setting: "gru.Setting") -> Array | None:
    if mask_BT is None:
        return None
    more = -mask_BT.shape[0] % setting.tile.batch
    return jnp.pad(mask_BT.astype(jnp.int8), ((0, more), (0, 0)))
