"""What a model would say after each step of its recurrence, and what each step adds."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from crnn_jax.errors import UserError
from crnn_jax.models.recurrent import Recurrent
from crnn_jax.studies.attributions import class_score, step_relevance
from crnn_jax.studies.inside import Passed, through_recurrence
from crnn_jax.studies.module_calls import subtree

Array = jax.Array


class Steps(NamedTuple):
    """What the steps tell of each example.

    Attributes:
      probability_BTK: each class's after each step, float32; the last is the model's own.
      relevance_BT: how much each step counts for the class of `class_B`; the sum is 1.
      attention_BT: weights of the states; None where the readout has none.
    """

    probability_BTK: Array
    relevance_BT: Array
    attention_BT: Array | None


def why_no_steps(model: nn.Module) -> str:
    """Returns why a model has no class after each step; "" where it has."""
    recurrent = getattr(model, "recurrent", None)
    if not isinstance(recurrent, Recurrent):
        return "it has no single recurrence over a sequence"
    if getattr(model, "step_order", "natural") != "natural":
        return "its recurrence reads shuffled steps (model.step_order)"
    return "its recurrence reads both ways, from both ends at once" * recurrent.bidirectional


def check_steps(model: nn.Module, workdir: Any) -> None:
    """Checks that a model says something after each step.

    Raises:
      UserError: it has no recurrence, or one that reads shuffled steps or both ways.
    """
    if reason := why_no_steps(model):
        raise UserError(
            f"--workdir expects a run of rnn, lrcn or crnn whose recurrence reads one way, found "
            f"'{workdir}': {reason}"
        )


def step_logits(model: nn.Module, weights: Any, passed: Passed) -> Array:
    """Returns logits_BTK, the model's scores if the sequence had ended after each step.

    With 'last' as readout they are the head's on each hidden state; 'mean' and 'attention' read the
    states up to the step. LRCN's are the log of the mean probability of the steps so far. Only the
    last was trained to be right, but for LRCN's.

    Args:
      model: one for which `why_no_steps` returns "".
      weights: its variables.
      passed: what `through_recurrence` returns.
    """
    if (logits_BTK := passed.output.step_logits_BTK) is not None:
        num_steps = logits_BTK.shape[1]
        count_1T1 = jnp.arange(1, num_steps + 1, dtype=jnp.float32)[None, :, None]
        return jnp.log(jnp.cumsum(nn.softmax(logits_BTK), axis=1) / count_1T1)
    parts: Any = model
    state_BTN, params = passed.state_BTN, weights["params"]
    number_T = jnp.arange(state_BTN.shape[1])

    def after(step: Array) -> Array:
        mask_BT = jnp.broadcast_to(number_T <= step, state_BTN.shape[:2])
        own = {"params": subtree(params, ("readout",))}
        pooled_BN = parts.readout.apply(own, state_BTN, state_BTN[:, step], mask_BT)
        return parts.head.apply({"params": params["head"]}, pooled_BN, train=False)

    return jnp.moveaxis(jax.lax.map(after, number_T), 0, 1)


def read_steps(model: nn.Module, weights: Any, pixels: Array, class_B: Array) -> Steps:
    """Returns what the steps tell of each example.

    Args:
      model: one for which `why_no_steps` returns "".
      weights: its variables.
      pixels: normalised, (B, H, W, C) or (B, F, H, W, C).
      class_B: int, whose score the relevance is of.
    """
    passed = through_recurrence(model, weights, pixels)

    def output_of(feature_BTD: Array) -> Any:
        return through_recurrence(model, weights, pixels, feature_BTD).output

    relevance_BT = step_relevance(class_score(output_of, class_B), passed.feature_BTD)
    total_B1 = jnp.sum(relevance_BT, axis=1, keepdims=True)
    return Steps(
        nn.softmax(step_logits(model, weights, passed).astype(jnp.float32)),
        relevance_BT / jnp.maximum(total_B1, jnp.finfo(jnp.float32).tiny),
        passed.attention_BT,
    )
