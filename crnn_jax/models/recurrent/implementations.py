"""The implementations of a recurrent layer by the name that `config.model.implementation` gives."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from crnn_jax.models.recurrent import fused
from crnn_jax.models.recurrent.associative import associative
from crnn_jax.models.recurrent.cells import CELLS, Array
from crnn_jax.models.recurrent.hoisted import hoisted
from crnn_jax.models.recurrent.scan import scan
from crnn_jax.models.recurrent.weights import Settings, Weights


def _always(num_units: int, batch: int, dtype: Any) -> bool:
    del num_units, batch, dtype
    return True


class Implementation(NamedTuple):
    """One way of running a layer, and where it can be asked for.

    All are equal in value and have the same weights. `run` takes (settings, feature_BTD, mask_BT or
    None, weights) and returns (state_BTN, last_BN), float32, from a zero state.
    """

    run: Callable[[Settings, Array, Array | None, Weights], tuple[Array, Array]]
    cells: Collection[str]  # those of `CELLS` that it runs
    remat: bool = True  # whether it may be asked for with `remat`
    # (num_units, examples on one device, dtype) -> whether the device has room for it.
    fits: Callable[[int, int, Any], bool] = _always


IMPLEMENTATIONS: dict[str, Implementation] = {
    "scan": Implementation(scan, CELLS),
    "hoisted": Implementation(hoisted, CELLS),
    "associative": Implementation(
        associative, tuple(name for name, cell in CELLS.items() if cell.parallel is not None)
    ),
    "fused": Implementation(fused.fused_recurrence, ("gru",), remat=False, fits=fused.fits),
}
