"""Recurrent layers: their weights, their stack, and the call of the implementation that runs them.

One parameter tree serves all of them, so that a checkpoint moves between them: per layer and
direction `kernel_x` (D, gates * N), `bias` (gates * N,), but for minGRU `kernel_h` (N, gates * N)
and, for the GRU alone, `bias_h` (N,). Matmuls read `dtype`; the carry, the gates and the gradients'
sums over time are float32.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from crnn_jax.models.recurrent.cells import CELLS, Array
from crnn_jax.models.recurrent.fastest import fastest
from crnn_jax.models.recurrent.implementations import IMPLEMENTATIONS
from crnn_jax.models.recurrent.weights import Settings, Weights


def gate_orthogonal(key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
    """Returns a (N, gates * N) kernel of one orthogonal N x N block a gate, each drawn apart."""
    size, width = shape
    blocks = [
        nn.initializers.orthogonal()(block_key, (size, size), dtype)
        for block_key in jax.random.split(key, width // size)
    ]
    return jnp.concatenate(blocks, axis=1)


class RecurrentLayer(nn.Module):
    """One layer in one direction."""

    cell: str
    hidden_units: int
    reverse: bool
    implementation: str
    remat: bool
    dtype: Any

    @nn.compact
    def __call__(self, feature_BTD: Array, mask_BT: Array | None = None) -> tuple[Array, Array]:
        """Returns (state_BTN, last_BN), float32; in reverse, `last` has read step 0 last."""
        cell, size = CELLS[self.cell], self.hidden_units
        num_features = feature_BTD.shape[-1]
        width = cell.num_gates * size
        kernel_x = self.param(
            "kernel_x", nn.initializers.lecun_normal(), (num_features, width), jnp.float32
        )
        bias = self.param("bias", self._init_bias, (width,), jnp.float32)
        kernel_h = bias_h = jnp.zeros((width,), jnp.float32)
        if cell.parallel is None:
            kernel_h = self.param("kernel_h", gate_orthogonal, (size, width), jnp.float32)
        if cell.candidate_bias:
            bias_h = self.param("bias_h", nn.initializers.zeros, (size,), jnp.float32)
            bias_h = jnp.pad(bias_h, (width - size, 0))  # the candidate is the last gate
        implementation = IMPLEMENTATIONS[self.implementation]
        assert self.cell in implementation.cells, f"{self.implementation} has no {self.cell}"
        settings = Settings(self.cell, self.reverse, self.dtype, self.remat)
        weights = Weights(kernel_x, bias, kernel_h, bias_h)
        return implementation.run(settings, feature_BTD, mask_BT, weights)

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
      cell: 'elman', 'gru', 'gru_cho', 'lstm' or 'mingru'.
      hidden_units: N, of each direction.
      num_recurrent_layers: each layer reads all states of the one below.
      bidirectional: a second layer reads from the last step to the first; states are concatenated
        to 2N.
      implementation: 'scan' projects the input inside the loop, 'hoisted' projects that of all
        steps by one matmul before it, 'associative' (minGRU alone) finds all states at once,
        'fused' (GRU alone) runs all steps in one GPU kernel, which a CPU interprets, slowly; 'auto'
        is the one measured fastest for the shape (`fastest`). Equal in value; parameters are the
        same.
      remat: the backward pass computes each step again, with its input's projection, instead of
        keeping its gates: less memory, for long sequences. So 'hoisted' and 'auto' are 'scan';
        'associative' and 'fused' keep what they need.
      dtype: that the matmuls read.
    """

    cell: str
    hidden_units: int
    num_recurrent_layers: int
    bidirectional: bool
    implementation: str
    remat: bool
    dtype: Any

    @nn.compact
    def __call__(self, feature_BTD: Array, mask_BT: Array | None = None) -> tuple[Array, Array]:
        """Returns (state_BTN, last_BN) of the top layer, float32; N is doubled if bidirectional.

        Args:
          feature_BTD: any float dtype, T >= 1.
          mask_BT: bool, for sequences of several lengths: a step where it is False leaves the state
            as it is. So, where the mask is True up to a length, `last_BN` is the state at the
            last valid step, and the reverse direction starts there.
        """
        implementation = self.implementation
        if implementation == "auto":
            batch, num_steps, _ = feature_BTD.shape
            implementation = fastest(
                self.cell, num_steps, self.hidden_units, batch, self.dtype, remat=self.remat
            )
        directions = (False, True) if self.bidirectional else (False,)
        state_BTN, last_BN = feature_BTD, feature_BTD[:, -1]
        for index in range(self.num_recurrent_layers):
            ends = [
                RecurrentLayer(
                    self.cell,
                    self.hidden_units,
                    reverse,
                    implementation,
                    self.remat,
                    self.dtype,
                    name=f"layer_{index}" + ("_reverse" if reverse else ""),
                )(state_BTN, mask_BT)
                for reverse in directions
            ]
            state_BTN = jnp.concatenate([state for state, _ in ends], axis=-1)
            last_BN = jnp.concatenate([last for _, last in ends], axis=-1)
        return state_BTN, last_BN


def recurrent_calls(
    model: nn.Module, input_shape: Sequence[int], batch: int
) -> list[tuple[Recurrent, jax.ShapeDtypeStruct]]:
    """Returns each `Recurrent` that the model calls, apart from it, with its input's shape.

    Args:
      model: called as `model.apply(variables, pixels, train=False)`; nothing is computed.
      input_shape: shape of an example: (H, W, C), or (F, H, W, C) for a clip.
      batch: examples. A layer may read more of them: lines of an image.
    """
    found: list[tuple[Recurrent, jax.ShapeDtypeStruct]] = []

    def record(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, Recurrent) and context.method_name == "__call__":
            feature = jax.ShapeDtypeStruct(args[0].shape, args[0].dtype)
            found.append((context.module.clone(parent=None, name=None), feature))
        return next_call(*args, **kwargs)

    pixels = jax.ShapeDtypeStruct((batch, *input_shape), jnp.float32)
    with nn.intercept_methods(record):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), pixels)
    return found
