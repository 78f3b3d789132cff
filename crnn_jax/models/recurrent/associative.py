"""All states of a layer at once, for a cell whose step is linear in the state."""

from crnn_jax.models.recurrent.cells import CELLS, Array
from crnn_jax.models.recurrent.weights import Settings, Weights, affine


def associative(
    settings: Settings, feature_BTD: Array, mask_BT: Array | None, weights: Weights
) -> tuple[Array, Array]:
    """Returns (state_BTN, last_BN), float32, by the cell's own parallel form.

    Args:
      settings: for a cell with `Cell.parallel`; remat changes nothing.
      feature_BTD: any float dtype.
      mask_BT: bool; where False the step is the identity.
      weights: the layer's.
    """
    parallel = CELLS[settings.cell].parallel
    assert parallel is not None
    gate_x_BTG = affine(feature_BTD, weights.kernel_x, weights.bias, settings.dtype)
    state_BTN = parallel(gate_x_BTG, mask_BT, reverse=settings.reverse)
    return state_BTN, state_BTN[:, 0 if settings.reverse else -1]
