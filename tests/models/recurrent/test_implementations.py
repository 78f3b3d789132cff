"""The table of implementations: that each runs what its entry says, and nothing less."""

import jax
import jax.numpy as jnp
import pytest

from crnn_jax.models.recurrent import RecurrentLayer
from crnn_jax.models.recurrent.cells import CELLS
from crnn_jax.models.recurrent.implementations import IMPLEMENTATIONS


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_an_implementation_runs_the_cells_of_its_entry_and_no_other(name, cell, remat):
    feature_BTD = jax.ShapeDtypeStruct((2, 9, 4), jnp.float32)
    layer = RecurrentLayer(cell, 6, False, name, remat, jnp.float32)

    def run(feature_BTD):
        return layer.init_with_output(jax.random.key(0), feature_BTD)[0]

    if cell not in IMPLEMENTATIONS[name].cells:
        with pytest.raises(AssertionError, match=cell):
            jax.eval_shape(run, feature_BTD)
        return
    state_BTN, last_BN = jax.eval_shape(run, feature_BTD)
    assert (state_BTN.shape, last_BN.shape) == ((2, 9, 6), (2, 6))


def test_the_entries_are_what_the_docs_say():
    cells = {name: tuple(entry.cells) for name, entry in IMPLEMENTATIONS.items()}
    every = tuple(CELLS)
    assert cells == {
        "scan": every, "hoisted": every, "associative": ("mingru",), "fused": ("gru",)
    }  # fmt: skip
    # The tables are the same object: a cell that is added later has both.
    assert IMPLEMENTATIONS["scan"].cells is IMPLEMENTATIONS["hoisted"].cells is CELLS
    assert [name for name, entry in IMPLEMENTATIONS.items() if not entry.remat] == ["fused"]
