"""Recurrent layers: Elman, GRU and LSTM cells, and the scan that runs them over a sequence.

One parameter tree serves both implementations, so that a checkpoint moves between them: per layer
and direction `kernel_x` (D, gates * N), `kernel_h` (N, gates * N), `bias` (gates * N,) and, for the
GRU alone, `bias_h` (N,). All gates of a cell lie side by side in one kernel: one matmul, not three
or four. Matmuls read `dtype`; the carry, the gates and the gradients' sums over time are float32.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array
Carry = tuple[Array, ...]  # the hidden state (B, N) first; the LSTM's cell state after it
# (value_BN, first, last) -> value times kernel_h's gates first..last-1, (B, (last - first) * N).
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


class Cell(NamedTuple):
    """What a layer has to know of a cell."""

    step: Callable[[Carry, Array, Product], Carry]
    num_gates: int
    num_carries: int
    forget_gate: int | None  # its place among the gates; its bias starts at 1
    candidate_bias: bool  # a second bias inside the reset gate's product


CELLS = {
    "elman": Cell(elman, 1, 1, None, False),
    "gru": Cell(gru, 3, 1, None, True),
    "gru_cho": Cell(gru_cho, 3, 1, None, False),
    "lstm": Cell(lstm, 4, 2, 1, False),
}


def unroll_steps(num_steps: int) -> int:
    """Returns how many steps one iteration of the scan holds: all of them up to 8, else one.

    Sequences read from a last feature map are short (T = 4 to 8), and there a loop costs more than
    the steps in it. At T = 16 and 32 a CPU gained nothing from 4, 8 or all steps an iteration, and
    the compile time grew two- to sixfold.
    """
    return num_steps if num_steps <= 8 else 1


def gate_orthogonal(key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
    """Returns a (N, gates * N) kernel of one orthogonal N x N block a gate, each drawn apart."""
    size, width = shape
    blocks = [
        nn.initializers.orthogonal()(block_key, (size, size), dtype)
        for block_key in jax.random.split(key, width // size)
    ]
    return jnp.concatenate(blocks, axis=1)


def _matmul(value: Array, kernel: Array, dtype: Any) -> Array:
    """Returns value (..., D) times kernel (D, G) in `dtype`, as float32 (..., G)."""
    # One axis of rows: XLA's CPU takes a batched bfloat16 product by a path half as fast. The
    # kernel is cast here and not outside the scan: its gradient is then summed over the steps in
    # float32, and the matmuls of the backward pass read `dtype` too.
    rows = value.reshape(-1, value.shape[-1]).astype(dtype)
    product = jnp.dot(rows, kernel.astype(dtype)).astype(jnp.float32)
    return product.reshape(*value.shape[:-1], kernel.shape[-1])


class RecurrentLayer(nn.Module):
    """One layer in one direction."""

    cell: str
    hidden_units: int
    reverse: bool
    implementation: str
    dtype: Any

    @nn.compact
    def __call__(self, feature_BTD: Array) -> tuple[Array, Array]:
        """Returns (state_BTN, last_BN), float32; in reverse, `last` has read step 0 last."""
        cell, size = CELLS[self.cell], self.hidden_units
        batch, num_steps, num_features = feature_BTD.shape
        width = cell.num_gates * size
        kernel_x = self.param(
            "kernel_x", nn.initializers.lecun_normal(), (num_features, width), jnp.float32
        )
        kernel_h = self.param("kernel_h", gate_orthogonal, (size, width), jnp.float32)
        bias = self.param("bias", self._init_bias, (width,), jnp.float32)
        bias_h = jnp.zeros((width,), jnp.float32)
        if cell.candidate_bias:
            bias_h = self.param("bias_h", nn.initializers.zeros, (size,), jnp.float32)
            bias_h = jnp.pad(bias_h, (width - size, 0))  # the candidate is the last gate

        def product(value_BN: Array, first: int, last: int) -> Array:
            gates = slice(first * size, last * size)
            return _matmul(value_BN, kernel_h[:, gates], self.dtype) + bias_h[gates]

        def project(value: Array) -> Array:
            return _matmul(value, kernel_x, self.dtype) + bias

        hoisted = self.implementation == "hoisted"
        x_BTX = project(feature_BTD) if hoisted else feature_BTD

        def body(_: nn.Module, carry: Carry, x_BX: Array) -> tuple[Carry, Array]:
            gate_x_BG = x_BX if hoisted else project(x_BX)
            carry = cell.step(carry, gate_x_BG, product)
            return carry, carry[0]

        scan = nn.scan(
            body,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
            reverse=self.reverse,
            unroll=unroll_steps(num_steps),
        )
        start = (jnp.zeros((batch, size), jnp.float32),) * cell.num_carries
        last, state_BTN = scan(self, start, x_BTX)
        return state_BTN, last[0]

    def _init_bias(self, key: Array, shape: tuple[int], dtype: Any) -> Array:
        del key
        forget = CELLS[self.cell].forget_gate
        bias = jnp.zeros(shape, dtype)
        if forget is None:
            return bias
        # A forget gate that starts open lets gradients pass (Jozefowicz et al. 2015).
        return bias.at[forget * self.hidden_units : (forget + 1) * self.hidden_units].set(1.0)


class Recurrent(nn.Module):
    """Stacked recurrent layers, read in one direction or both.

    Attributes:
      cell: 'elman', 'gru', 'gru_cho' or 'lstm'.
      hidden_units: N, of each direction.
      num_layers: each layer reads all states of the one below.
      bidirectional: a second layer reads from the last step to the first; states are concatenated
        to 2N.
      implementation: 'scan' projects the input inside the loop, 'hoisted' projects that of all
        steps by one matmul before it. Equal in value; parameters are the same.
      dtype: that the matmuls read.
    """

    cell: str
    hidden_units: int
    num_layers: int
    bidirectional: bool
    implementation: str
    dtype: Any

    @nn.compact
    def __call__(self, feature_BTD: Array) -> tuple[Array, Array]:
        """Returns (state_BTN, last_BN) of the top layer, float32; N is doubled if bidirectional.

        Args:
          feature_BTD: any float dtype, T >= 1.
        """
        directions = (False, True) if self.bidirectional else (False,)
        state_BTN, last_BN = feature_BTD, feature_BTD[:, -1]
        for index in range(self.num_layers):
            ends = [
                RecurrentLayer(
                    self.cell,
                    self.hidden_units,
                    reverse,
                    self.implementation,
                    self.dtype,
                    name=f"layer_{index}" + ("_reverse" if reverse else ""),
                )(state_BTN)
                for reverse in directions
            ]
            state_BTN = jnp.concatenate([state for state, _ in ends], axis=-1)
            last_BN = jnp.concatenate([last for _, last in ends], axis=-1)
        return state_BTN, last_BN


def recurrent_of(model: Any) -> Recurrent:
    """Returns the layers with the fields of a model that has their fields, named "recurrent"."""
    return Recurrent(
        model.cell,
        model.hidden_units,
        model.num_recurrent_layers,
        model.bidirectional,
        model.implementation,
        model.dtype,
        name="recurrent",
    )
