"""Mergeable metrics: a mask equals a subset, and the merge of parts equals the whole."""

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.metrics import Classification

LOGITS = jnp.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0]])
LABELS = jnp.array([0, 1, 1, 0])
LOSSES = jnp.array([0.1, 0.2, 0.3, 0.4])


def test_by_hand():
    metrics = Classification.from_batch(LOGITS, LABELS, LOSSES, jnp.ones(4))
    assert metrics.compute() == {"loss": np.float32(0.25), "accuracy": 0.5}
    assert int(metrics.num_correct) == 2


def test_mask_equals_subset():
    weight_B = jnp.array([1.0, 0.0, 1.0, 0.0])
    masked = Classification.from_batch(LOGITS, LABELS, LOSSES.at[1].set(jnp.nan), weight_B)
    subset = Classification.from_batch(LOGITS[::2], LABELS[::2], LOSSES[::2], jnp.ones(2))
    assert masked.compute() == subset.compute()
    assert int(masked.num_examples) == 2


def test_merge_equals_whole():
    parts = [
        Classification.from_batch(
            LOGITS[i : i + 1], LABELS[i : i + 1], LOSSES[i : i + 1], jnp.ones(1)
        )
        for i in range(4)
    ]
    merged = Classification.empty()
    for part in parts:
        merged = merged.merge(part)
    whole = Classification.from_batch(LOGITS, LABELS, LOSSES, jnp.ones(4))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), merged, whole)


def test_counts_are_exact_beyond_float32():
    big = Classification.empty().replace(
        num_correct=jnp.int32(2**24), num_examples=jnp.int32(2**25)
    )
    one = Classification.from_batch(LOGITS[:1], LABELS[:1], LOSSES[:1], jnp.ones(1))
    assert int(big.merge(one).num_correct) == 2**24 + 1


def test_nothing_is_nan():
    assert np.isnan(Classification.empty().compute()["accuracy"])
