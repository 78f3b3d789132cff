"""Readouts: how one vector is made of a recurrent layer's states, for the head to classify."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from crnn_jax.axes import along_last
from crnn_jax.models.recurrent.weights import affine

Array = jax.Array


class Readout(nn.Module):
    """The interface of all readouts.

    Attributes:
      dtype: that matmuls read, where there are any.
    """

    dtype: Any

    def __call__(self, state_BTN: Array, last_BN: Array, mask_BT: Array | None = None) -> Array:
        """Returns pooled_BN, float32.

        Args:
          state_BTN: the states after each step, float32.
          last_BN: the state of each direction after the step that it reads last, float32.
          mask_BT: bool; a step where it is False does not count. None: all steps count.
        """
        raise NotImplementedError


class Last(Readout):
    """The paper's: "the last time step goes to a fully connected layer"."""

    def __call__(self, state_BTN: Array, last_BN: Array, mask_BT: Array | None = None) -> Array:
        """Returns `last_BN`; the layer has left out the masked steps already."""
        del state_BTN, mask_BT
        return last_BN


class Mean(Readout):
    """The mean of the states over the steps that count; zeros where none does."""

    def __call__(self, state_BTN: Array, last_BN: Array, mask_BT: Array | None = None) -> Array:
        """Returns pooled_BN, float32."""
        del last_BN
        if mask_BT is None:
            return jnp.mean(state_BTN, axis=1)
        count_B1 = jnp.sum(mask_BT, axis=1, keepdims=True)
        sum_BN = jnp.sum(jnp.where(mask_BT[..., None], state_BTN, 0.0), axis=1)
        return sum_BN / jnp.maximum(count_B1, 1)


class Attention(Readout):
    """Additive attention over the states: sum_t a_t h_t with a = softmax(v^T tanh(W h_t + b)).

    Bahdanau et al. 2014, "Neural Machine Translation by Jointly Learning to Align and Translate",
    which the paper names as future work. There a decoder asks anew for each word it writes:
    e_t = v^T tanh(W s + U h_t). A classifier has no decoder, so its query W s is a trained
    constant, b, and there is one context vector for an image. As there, v and b start at zero: the
    readout starts as the mean of the states. W starts with variance 1 / N (there 0.001^2), and has
    as many outputs as inputs.

    The weights are sown as the intermediate 'attention_BT', float32, 0 at masked steps, of sum 1;
    read them by `model.apply(..., mutable="intermediates")` at readout/attention_BT.
    """

    @nn.compact
    def __call__(self, state_BTN: Array, last_BN: Array, mask_BT: Array | None = None) -> Array:
        """Returns pooled_BN, float32; zeros where no step counts."""
        del last_BN
        size = state_BTN.shape[-1]
        init, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        kernel = self.param("kernel", init, (size, size), jnp.float32)
        bias_N = self.param("bias", zeros, (size,), jnp.float32)
        score_N = self.param("score", zeros, (size,), jnp.float32)
        hidden_BTN = jnp.tanh(affine(state_BTN, kernel, bias_N, self.dtype))
        score_11N = along_last(score_N, hidden_BTN)
        energy_BT = jnp.sum(hidden_BTN * score_11N, axis=-1)  # no matmul: in float32 everywhere
        if mask_BT is not None:
            energy_BT = jnp.where(mask_BT, energy_BT, jnp.finfo(jnp.float32).min)
        attention_BT = nn.softmax(energy_BT, axis=1)
        if mask_BT is not None:  # where no step counts, softmax gave all of them the same
            attention_BT = jnp.where(mask_BT, attention_BT, 0.0)
        self.sow("intermediates", "attention_BT", attention_BT)
        return jnp.sum(attention_BT[..., None] * state_BTN, axis=1)


READOUTS: dict[str, type[Readout]] = {"last": Last, "mean": Mean, "attention": Attention}
