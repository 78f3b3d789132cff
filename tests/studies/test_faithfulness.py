"""Rank correlation, areas and random weights against values by hand and SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from crnn_jax.config import default_config
from crnn_jax.models import build_model
from crnn_jax.studies import faithfulness


def test_rank_correlation_is_scipys_of_absolute_values():
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 3, 4, 5)).round(1)  # with ties
    found_B = faithfulness.rank_correlation(first, second)
    for one, two, found in zip(first, second, found_B, strict=True):
        expected, _ = stats.spearmanr(abs(one).ravel(), abs(two).ravel())
        assert found == pytest.approx(expected)
    assert np.isnan(faithfulness.rank_correlation(first, np.zeros_like(first))).all()
    np.testing.assert_allclose(faithfulness.rank_correlation(first, -2 * first), 1)


def test_the_largest_value_comes_first():
    order_BHW = faithfulness.order_of(jnp.array([[[3.0, 9.0], [-1.0, 4.0]]]))
    np.testing.assert_array_equal(order_BHW, [[[2, 0], [3, 1]]])


def test_areas_by_hand():
    # The "probability" is the image's sum; pixels of 0.6, 0.3, 0.1 and 0, in this order.
    image_BHWC = jnp.array([0.3, 0.6, 0.0, 0.1]).reshape(1, 2, 2, 1)
    order_BHW = faithfulness.order_of(image_BHWC[..., 0])
    insertion_B, deletion_B = faithfulness.insertion_and_deletion(
        lambda x: x.sum((1, 2, 3)), image_BHWC, jnp.zeros_like(image_BHWC), order_BHW, num_levels=4
    )
    # 0, 0.6, 0.9, 1, 1 by trapezoids; deletion is 1 minus that.
    np.testing.assert_allclose(insertion_B, [(0.3 + 0.75 + 0.95 + 1) / 4], rtol=1e-6)
    np.testing.assert_allclose(deletion_B, [1 - (0.3 + 0.75 + 0.95 + 1) / 4], rtol=1e-6)
    worst = faithfulness.insertion_and_deletion(
        lambda x: x.sum((1, 2, 3)),
        image_BHWC,
        jnp.zeros_like(image_BHWC),
        3 - order_BHW,
        num_levels=4,
    )
    assert worst[0][0] < insertion_B[0]


@pytest.mark.parametrize(
    ("name", "cascade"),
    [
        ("crnn", ["head", "head + recurrent", "all"]),
        ("cnn", ["head", "all"]),
        ("rnn", ["head", "all"]),
    ],
)
def test_weights_are_randomised_from_the_top(draw, name, cascade):
    config = default_config(name).model
    sizes = {"width": 4, "num_conv_layers": 3, "hidden_units": 5, "whiten_size": 2}
    config.update({key: value for key, value in sizes.items() if key in config})
    model, pixels = build_model(config, 10, jnp.float32), jnp.zeros((2, 8, 8, 3))
    weights = draw(model, pixels, train=False)
    found = faithfulness.randomised(model, weights, pixels, jax.random.key(0))
    assert [what for what, _ in found] == cascade
    for what, random in found:
        same = {
            part: bool(jnp.array_equal(*(jax.tree.leaves(w["params"][part])[-1] for w in
                                         (weights, random))))
            for part in weights["params"]
        }  # fmt: skip
        kept = {part for part, equal in same.items() if equal}
        assert kept == (set() if what == "all" else set(same) - set(what.split(" + ")))
        model.apply(random, pixels, train=False)
    if name != "rnn":  # a statistic of the data, without which nothing would be seen
        kernels = [w["batch_stats"]["trunk"]["whiten"]["kernel"] for w in (weights, found[-1][1])]
        np.testing.assert_array_equal(*kernels)
