"""Recurrent cells, each written once: one step, elementwise but for its recurrent products.

All gates of a cell lie side by side in one array: one matmul, not three or four.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array
Carry = tuple[Array, ...]  # the hidden state (B, N) first; the LSTM's cell state after it
# (value_BN, first, last) -> value times kernel_h's gates first..last-1, plus bias_h where there is
# one, (B, (last - first) * N).
Product = Callable[[Array, int, int], Array]


def elman(carry: Carry, gate_x_BG: Array, product: Product) -> Carry:
    """Returns the next carry (h,) of Eq. 1: h_t = tanh(W_xh x_t + W_hh h_{t-1} + b_h); G = N."""
    return (jnp.tanh(gate_x_BG + product(carry[0], 0, 1)),)


def gru(carry: Carry, gate_x_BG: Array, product: Product) -> Carry:
    """Returns the next carry (h,) of a gated recurrent unit; G = 3N, in the order r, z, n.

    Cho et al. 2014 ("Learning Phrase Representations using RNN Encoder-Decoder"), with one
    difference, shared with cuDNN and Flax: they apply the reset gate before the recurrent matmul,
    W_hn (r * h); here it comes after, r * (W_hn h + b_hn), so that one matmul serves all gates.
    Also as there, z weighs the old state: h_t = (1 - z) n + z h_{t-1}.
    """
    (hidden_BN,) = carry
    reset_x, update_x, new_x = jnp.split(gate_x_BG, 3, axis=-1)
    reset_h, update_h, new_h = jnp.split(product(hidden_BN, 0, 3), 3, axis=-1)
    reset_BN = nn.sigmoid(reset_x + reset_h)
    update_BN = nn.sigmoid(update_x + update_h)
    new_BN = jnp.tanh(new_x + reset_BN * new_h)
    return ((1.0 - update_BN) * new_BN + update_BN * hidden_BN,)


def gru_cho(carry: Carry, gate_x_BG: Array, product: Product) -> Carry:
    """Returns the next carry (h,) of the gated recurrent unit as Cho et al. 2014 wrote it.

    As `gru`, but the reset gate comes before the recurrent matmul: n = tanh(W_xn x + W_hn (r * h)).
    That is a second matmul a step, which has to wait for the first.
    """
    (hidden_BN,) = carry
    reset_x, update_x, new_x = jnp.split(gate_x_BG, 3, axis=-1)
    reset_h, update_h = jnp.split(product(hidden_BN, 0, 2), 2, axis=-1)
    reset_BN = nn.sigmoid(reset_x + reset_h)
    update_BN = nn.sigmoid(update_x + update_h)
    new_BN = jnp.tanh(new_x + product(reset_BN * hidden_BN, 2, 3))
    return ((1.0 - update_BN) * new_BN + update_BN * hidden_BN,)


def lstm(carry: Carry, gate_x_BG: Array, product: Product) -> Carry:
    """Returns the next carry (h, c) of a long short-term memory; G = 4N, in the order i, f, g, o.

    Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000, no peepholes:
    c_t = f c_{t-1} + i g, h_t = o tanh(c_t).
    """
    hidden_BN, cell_BN = carry
    gate_BG = gate_x_BG + product(hidden_BN, 0, 4)
    in_BN, forget_BN, new_BN, out_BN = jnp.split(gate_BG, 4, axis=-1)
    cell_BN = nn.sigmoid(forget_BN) * cell_BN + nn.sigmoid(in_BN) * jnp.tanh(new_BN)
    return nn.sigmoid(out_BN) * jnp.tanh(cell_BN), cell_BN


def mingru(carry: Carry, gate_x_BG: Array, product: Product) -> Carry:
    """Returns the next carry (h,) of a minimal gated recurrent unit; G = 2N, in the order z, n.

    Feng et al. 2024 ("Were RNNs All We Needed?"): the gate and the candidate read the input alone,
    z = sigmoid(W_z x), n = W_n x (plain: their g() belongs to the variant in logarithms), and
    h_t = (1 - z) h_{t-1} + z n; z weighs the new value, unlike in `gru`. Linear in h, so that all
    states can be found in parallel (`parallel_mingru`).
    """
    del product
    update_x, new_x = jnp.split(gate_x_BG, 2, axis=-1)
    update_BN = nn.sigmoid(update_x)
    return ((1.0 - update_BN) * carry[0] + update_BN * new_x,)


def parallel_mingru(gate_x_BTG: Array, mask_BT: Array | None, *, reverse: bool) -> Array:
    """Returns state_BTN of `mingru` from a zero state, all steps at once, float32.

    The literal form of the paper's "parallel processing of RNN hidden states": a step is the map
    h -> a h + b, maps are composed by an associative scan (Blelloch 1990), in O(log T) rounds.

    Args:
      gate_x_BTG: float32, as the cell's.
      mask_BT: bool; where False the step is the identity.
      reverse: from the last step to the first.
    """
    update_x, new_x = jnp.split(gate_x_BTG.astype(jnp.float32), 2, axis=-1)
    update_BTN = nn.sigmoid(update_x)
    if mask_BT is not None:
        update_BTN = jnp.where(mask_BT[..., None], update_BTN, 0.0)

    def compose(first: Carry, second: Carry) -> Carry:
        return first[0] * second[0], second[0] * first[1] + second[1]

    maps = (1.0 - update_BTN, update_BTN * new_x)
    return jax.lax.associative_scan(compose, maps, reverse=reverse, axis=1)[1]


class Cell(NamedTuple):
    """What a layer has to know of a cell."""

    step: Callable[[Carry, Array, Product], Carry]
    num_gates: int
    num_carries: int = 1
    forget_gate: int | None = None  # its place among the gates; its bias starts at 1
    candidate_bias: bool = False  # a second bias inside the reset gate's product
    # The only product is of h with all of kernel_h, and of the leading `num_summed` gates the step
    # reads nothing but the sum of that and gate_x (`hoisted.py`). None: other products, or none.
    num_summed: int | None = None
    # All states at once from (gate_x_BTG, mask_BT), for a cell without recurrent products.
    parallel: Callable[..., Array] | None = None


CELLS = {
    "elman": Cell(elman, 1, num_summed=1),
    "gru": Cell(gru, 3, candidate_bias=True, num_summed=2),
    "gru_cho": Cell(gru_cho, 3),
    "lstm": Cell(lstm, 4, num_carries=2, forget_gate=1, num_summed=4),
    "mingru": Cell(mingru, 2, parallel=parallel_mingru),
}
